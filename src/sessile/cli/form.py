"""Forms that are filled in line by line, and the values of the lines. Pure."""

import json
from typing import Any, Literal, NamedTuple, TypeAlias

from msgspec import UNSET

Kind: TypeAlias = Literal[
    "text", "lines", "number", "integer", "boolean", "choice", "choices", "json"
]
_TRUTHS = {"y": True, "yes": True, "n": False, "no": False}


class Field(NamedTuple):
    """One question. ``default`` is the value of an empty line, or UNSET; ``options`` are the
    values to choose from, by what is shown for them. The name is empty if it is the whole output."""

    name: str
    label: str
    kind: Kind
    required: bool = True
    description: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    default: Any = UNSET


class Form(NamedTuple):
    """The fields of an object, or of a single value. A form that is not ``drawn`` has one field for
    any JSON."""

    fields: list[Field]
    title: str = ""
    description: str = ""
    is_object: bool = False
    drawn: bool = True

    def output(self, values: list[Any]) -> Any:
        """What the values of the fields make; UNSET for a field that is left out."""
        if not self.is_object:
            return values[0]
        named = zip(self.fields, values, strict=True)
        return {field.name: value for field, value in named if value is not UNSET}


def value_of(field: Field, typed: str) -> Any:
    """The value of what was typed; UNSET to leave the field out. Raises ``ValueError`` with what is
    wrong."""
    text = typed.strip()
    if not text:
        if field.default is UNSET and field.required:
            raise ValueError("An answer is needed.")
        return field.default
    match field.kind:
        case "text":
            return text
        case "lines":
            return typed
        case "boolean":
            if text.lower() not in _TRUTHS:
                raise ValueError("Answer yes or no.")
            return _TRUTHS[text.lower()]
        case "choice":
            return _option(field, text)
        case "choices":
            return [_option(field, one.strip()) for one in text.split(",") if one.strip()]
        case "json":
            return _json(text)
        case _:
            return _number(field, text)


def _option(field: Field, text: str) -> Any:
    if text.isascii() and text.isdigit() and 0 < int(text) <= len(field.options):
        return field.options[int(text) - 1][1]
    for label, value in field.options:
        if label.casefold() == text.casefold():
            return value
    raise ValueError(f"Answer with a number from 1 to {len(field.options)}.")


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise ValueError(f"This is not JSON: {error}") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _number(field: Field, text: str) -> Any:
    try:
        value = _json(text)
    except ValueError:
        value = None
    if field.kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    kinds = (int,) if field.kind == "integer" else (int, float)
    if not isinstance(value, kinds) or isinstance(value, bool) or abs(value) == float("inf"):
        raise ValueError(f"Enter a {'whole ' if field.kind == 'integer' else ''}number.")
    return value
