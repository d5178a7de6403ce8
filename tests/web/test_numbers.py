"""Numbers that JavaScript would change are shown and sent as they were written."""

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import expect

from tests.web.browser import Api, Tab
from tests.web.script import script

Rewrite = Callable[[str], list[str | None]]

NUMBERS = [
    *("653247040368672768", "-9007199254740993", "1.0", "-0", "-0.0", "1e400", "1E5", "1e22"),
    *("0.1000000000000000055511151231257827", "12345678901234567890.5", "0.10", "5e-324"),
]


@pytest.fixture(scope="module")
def rewrite() -> Iterator[Rewrite]:
    """JSON as the web client writes what it read, in a browser of today and in an older one."""
    with script("json.ts") as reader:

        def rewrite(text: str) -> list[str | None]:
            asked = [{"text": text, "marks": marks} for marks in (False, True)]
            return [json.loads(reader.ask(one)) for one in asked]

        rewrite("1")
        yield rewrite


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_stays_as_it_was_written(rewrite: Rewrite, number: str) -> None:
    for text in (number, f"[{number},[{number}]]", f'{{"a":{number},"b":"{number}"}}'):
        assert rewrite(text) == [text, text]


numbers = st.from_regex(
    r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.text(
    '\\"1.0', max_size=20
)
quoted = texts.map(lambda text: json.dumps(text, ensure_ascii=False))
values = st.recursive(
    numbers | quoted | st.sampled_from(["null", "true"]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{','.join(items)}]")
        | st.lists(st.tuples(quoted, inner), max_size=4, unique_by=lambda field: field[0]).map(
            # A browser sorts names that are numbers.
            lambda fields: "{" + ",".join(f'"x{name[1:]}:{value}' for name, value in fields) + "}"
        )
    ),
    max_leaves=25,
)


@given(values)
def test_any_json_stays_as_it_was_written(rewrite: Rewrite, text: str) -> None:
    assert rewrite(text) == [text, text]


@pytest.mark.parametrize(
    "text", ["01", "1.", "-", "1.0.3", "1e", "[1.0", '"1.0', "1.0 2.0", "", "+1"]
)
def test_what_is_no_json_is_refused(rewrite: Rewrite, text: str) -> None:
    assert rewrite(text) == [None, None]


def test_people_see_the_numbers_that_the_agent_wrote(tab: Tab, api: Api) -> None:
    large = "653247040368672768"
    call = (
        '{"type":"tool-call","toolCallId":"1","toolName":"find","state":"complete",'
        f'"toolInput":{{"id":{large},"rate":1.0,"all":[0.10,{large}1]}},"toolOutput":{large}2}}'
    )
    bare = call.replace('"toolInput":{', '"toolInput":7.0,"ignored":{').replace('"1"', '"2"')
    data = f'{{"type":"data","name":"order","data":{{"id":{large}3}}}}'
    parts = f'[{{"type":"text","content":"so"}},{data}]'
    for role, body in (("user", parts), ("assistant", f"[{call},{bare},{data}]")):
        response = api.http.post(
            "/sessions/s/messages",
            content=f'{{"role":"{role}","parts":{body}}}',
            headers={"content-type": "application/json"},
        )
        assert response.status_code == 201, response.text
    tab.open("s")
    for block in tab.answers.locator("details").all():
        block.locator("summary").click()
    shown = tab.answers.first
    expect(shown.get_by_label("id", exact=True)).to_have_text(large)
    expect(shown.get_by_label("rate", exact=True)).to_have_text("1.0")
    expect(shown.get_by_label("all", exact=True)).to_contain_text(f"{large}1")
    expect(shown.get_by_label("Output").first).to_have_text(f"{large}2")
    expect(shown.get_by_label("Input").last).to_have_text("7.0")
    expect(shown.get_by_label("order")).to_contain_text(f"{large}3")
    # An edit sends again what it does not change.
    tab.sent.hover()
    tab.sent.get_by_role("button", name="Edit").click()
    tab.say("[[order]]")
    asked = tab.page.get_by_role("region", name="delete_order asks")
    expect(asked.get_by_label("order_id")).to_have_text(large)
    expect(asked.get_by_label("rate")).to_have_text("1.0")
    asked.get_by_role("button", name="Allow", exact=True).click()
    tab.is_answered("order")
    assert data in api.http.get("/chat/s/messages").text
