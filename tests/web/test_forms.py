"""The web client reads JSON Schemas as forms, and makes JSON of what is written into them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessile.cli.schema import form_of
from tests.web.script import script

Draw = Callable[..., Any]
LARGE = 653247040368672768


@pytest.fixture(scope="module")
def draw() -> Iterator[Draw]:
    """The form of a schema, and the output of entries by the names of the fields."""
    with script("form.ts") as maker:

        def draw(schema: Any, refusal: str = "", **entries: Any) -> Any:
            asked = {"schema": schema, "entries": entries, "refusal": refusal}
            return json.loads(maker.ask(asked))

        draw({})
        yield draw


def properties(*required: str, **named: Any) -> dict[str, Any]:
    return {"type": "object", "properties": named, "required": list(required)}


def fields(drawn: Any) -> list[tuple[str, str, str, bool]]:
    return [(f["name"], f["label"], f["kind"], f["required"]) for f in drawn["form"]["fields"]]


BOOKING = {
    **properties(
        "name",
        "guests",
        name={"type": "string", "title": "Your name"},
        guests={"type": "integer", "default": 2, "description": "1 to 12"},
        budget={"type": "number"},
        terrace={"type": "boolean", "default": True},
        meal={"enum": ["lunch", "dinner"], "default": "dinner"},
        wishes={"type": "string", "maxLength": 500},
        diets={"type": "array", "items": {"enum": ["vegan", "halal", "kosher"]}},
    ),
    "title": "A table",
    "description": "For tonight",
}


def test_an_object_is_a_field_for_each_property(draw: Draw) -> None:
    drawn = draw(BOOKING, name="Ada")
    assert (drawn["form"]["title"], drawn["form"]["description"]) == ("A table", "For tonight")
    assert fields(drawn) == [
        ("name", "Your name", "text", True),
        ("guests", "guests", "integer", True),
        ("budget", "budget", "number", False),
        ("terrace", "terrace", "boolean", False),
        ("meal", "meal", "choice", False),
        ("wishes", "wishes", "lines", False),
        ("diets", "diets", "choices", False),
    ]
    assert drawn["form"]["fields"][1]["description"] == "1 to 12"
    assert drawn["filled"] == {
        "output": {"name": "Ada", "guests": 2, "terrace": True, "meal": "dinner"}
    }
    drawn = draw(
        BOOKING,
        name="Ada",
        guests=" 4 ",
        budget="12.50",
        terrace=False,
        meal=[0],
        wishes="by\nthe window",
        diets=[2, 0],
    )
    assert drawn["filled"]["output"] == {
        "name": "Ada",
        "guests": 4,
        "budget": 12.5,
        "terrace": False,
        "meal": "lunch",
        "wishes": "by\nthe window",
        "diets": ["vegan", "kosher"],
    }


def test_what_is_missing_or_not_a_number_is_said_at_its_field(draw: Draw) -> None:
    filled = draw(BOOKING, guests="two", budget="1,5")["filled"]
    number, whole = "Enter a number.", "Enter a whole number."
    assert filled == {"problems": ["Fill in this field.", whole, number, "", "", "", ""]}
    assert draw(BOOKING, name="Ada", guests="2.5")["filled"]["problems"][1] == whole
    assert draw({"enum": ["a", "b"]})["filled"] == {"problems": ["Choose an option."]}
    assert draw(properties("a", a={"type": "string", "default": ""}))["filled"]["output"] == {
        "a": ""
    }


def test_a_refusal_is_about_the_field_that_it_names(draw: Draw) -> None:
    refusal = "The output does not match: at `output/{}`, 0 is less than the minimum of 1"
    assert draw(BOOKING, refusal.format("guests"))["fault"] == 1
    assert draw(BOOKING, refusal.format("diets/0"))["fault"] == 6
    assert draw(BOOKING, "at `output`, too few")["fault"] == -1
    assert draw({"type": "string"}, "at `output`, too short")["fault"] == 0


@pytest.mark.parametrize(
    ("schema", "entry", "output"),
    [
        ({"type": "string"}, "red", "red"),
        ({"type": "integer"}, "7", 7),
        ({"type": "number"}, "-1e3", -1000),
        ({"type": "boolean"}, True, True),
        ({"type": "boolean", "default": True}, None, True),
        ({"enum": ["a", 1, None]}, [2], None),
        ({"const": "yes"}, [0], "yes"),
        ({"oneOf": [{"const": "s", "title": "Small"}, {"const": "l"}]}, [1], "l"),
        ({"type": ["integer", "null"]}, "", None),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, [1], ["b"]),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "default": ["a"]}, None, ["a"]),
    ],
)
def test_a_single_value_is_the_output(draw: Draw, schema: Any, entry: Any, output: Any) -> None:
    entries = {} if entry is None else {"": entry}
    drawn = draw({**schema, "title": "Which?"}, **entries)
    assert fields(drawn)[0][:2] == ("", "Which?")
    assert drawn["filled"] == {"output": output}


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"format": "multiline"}, "lines"),
        ({"maxLength": 201}, "lines"),
        ({"maxLength": 200}, "text"),
        ({"contentMediaType": "text/markdown"}, "lines"),
        ({"default": "two\nlines"}, "lines"),
        ({"format": "email"}, "text"),
    ],
)
def test_a_long_text_has_several_lines(draw: Draw, schema: Any, kind: str) -> None:
    assert fields(draw({"type": "string", **schema}))[0][2] == kind


def test_what_pydantic_writes_is_understood(draw: Draw) -> None:
    schema = {
        "$defs": {"Size": {"enum": ["small", "large"], "title": "Size", "type": "string"}},
        **properties(
            "size",
            size={"$ref": "#/$defs/Size", "description": "of the cup"},
            milk={"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
            sugar={"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "Spoons"},
            again={"allOf": [{"$ref": "#/$defs/Size"}], "default": "large"},
        ),
    }
    drawn = draw(schema, size=[1], milk=[1])
    assert fields(drawn) == [
        ("size", "Size", "choice", True),
        ("milk", "milk", "choice", False),
        ("sugar", "Spoons", "integer", False),
        ("again", "Size", "choice", False),
    ]
    assert drawn["form"]["fields"][0]["description"] == "of the cup"
    assert drawn["filled"]["output"] == {"size": "large", "milk": False, "again": "large"}


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        {},
        {"type": "object"},
        properties(where=properties(street={"type": "string"})),
        properties("b", a={"type": "string"}),
        properties(a={"type": "array", "items": {"type": "string"}}),
        properties(a={"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        properties(a={"type": ["string", "integer"]}),
        properties(a={"$ref": "#/nowhere"}),
        properties(a={"$ref": "https://example.org/schema"}),
        {"$ref": "#"},
        {"oneOf": [{"type": "string"}, {"const": 1}]},
        {**properties(a={"type": "string"}), "anyOf": [{"required": ["a"]}, {"minProperties": 2}]},
        {"type": "array", "items": {"type": "object"}},
    ],
)
def test_anything_else_is_written_as_json(draw: Draw, schema: Any) -> None:
    drawn = draw(schema, **{"": '{"a": [1.50]}'})
    assert (fields(drawn)[0][2], drawn["form"]["isDrawn"]) == ("json", False)
    assert not form_of(schema).drawn
    assert drawn["filled"] == {"output": {"a": [1.5]}}
    assert draw(schema, **{"": " "})["filled"] == {"problems": ["Write the answer as JSON."]}
    [problem] = draw(schema, **{"": "{a: 1}"})["filled"]["problems"]
    assert problem.startswith("This is not JSON: ")


def test_numbers_keep_their_digits(draw: Draw) -> None:
    schema = properties(id={"type": "integer", "default": LARGE}, of={"enum": [LARGE + 1]})
    drawn = draw(schema, of=[0])
    assert drawn["form"]["fields"][0]["initial"] == str(LARGE)
    assert drawn["form"]["fields"][1]["options"][0]["label"] == str(LARGE + 1)
    assert drawn["filled"]["output"] == {"id": LARGE, "of": LARGE + 1}
    assert draw(schema, id=f"{LARGE}3")["filled"]["output"]["id"] == LARGE * 10 + 3
    assert draw({}, **{"": f"[{LARGE}]"})["filled"]["output"] == [LARGE]


scalars = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "multiline"},
        {"type": "integer"},
        {"type": "number"},
        {"type": "boolean"},
        {"enum": ["a", "b", 3]},
        {"type": "array", "items": {"enum": ["a", "b"]}},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": ["boolean", "null"]},
    ]
)
# Also the names of what every object of JavaScript has.
names = st.text(max_size=8) | st.sampled_from(["__proto__", "constructor", "toString"])
objects = st.dictionaries(names, scalars, max_size=5).flatmap(
    lambda named: st.sets(st.sampled_from([*named]) if named else st.nothing()).map(
        lambda required: {"type": "object", "properties": named, "required": sorted(required)}
    )
)
written = st.sampled_from(["text", "7", "-1.0", "", "12345678901234567890", " "])


@given(objects | scalars, st.data())
def test_what_a_form_accepts_matches_its_schema(draw: Draw, schema: Any, data: Any) -> None:
    first = draw(schema)
    entries: dict[str, Any] = {}
    for field in first["form"]["fields"]:
        entry: st.SearchStrategy[Any] = written
        if field["kind"] == "boolean":
            entry = st.booleans()
        elif field["options"]:
            most = 1 if field["kind"] == "choice" else 5
            places = st.integers(0, len(field["options"]) - 1)
            entry = st.lists(places, max_size=most, unique=True)
        entries[field["name"]] = data.draw(entry)
    filled = draw(schema, **entries)["filled"]
    if "output" in filled:
        assert jsonschema_rs.is_valid(schema, filled["output"])


@given(objects | scalars)
def test_the_terminal_asks_for_the_same_fields(draw: Draw, schema: Any) -> None:
    # JavaScript sorts names that are numbers.
    asked = sorted((f.name, f.label, f.required, f.kind) for f in form_of(schema).fields)
    shown = sorted((name, label, need, kind) for name, label, kind, need in fields(draw(schema)))
    assert [field[:3] for field in asked] == [field[:3] for field in shown]
    for one, other in zip(asked, shown, strict=True):
        # Where a boolean may be null, the page has a list: a box has two states.
        assert other[3] == one[3] or (one[3], other[3]) == ("boolean", "choice")
