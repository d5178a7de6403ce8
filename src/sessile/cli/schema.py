"""Reads a JSON Schema as the fields of a form: a flat object, or a single value. Pure."""

import json
from typing import Any

from msgspec import UNSET

from sessile.cli.form import Field, Form, Kind

DEPTH = 8  # references of a schema that are followed
LONG = 200  # a text that may have more characters gets several lines
# Rules that a form does not know, so that it could ask for what they forbid.
_UNKNOWN = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas"})


def form_of(schema: Any) -> Form:
    """The form for an output; ``schema`` is UNSET if it may be anything."""
    known = _resolved(schema, schema) or {}
    title, description = _text(known.get("title")), _text(known.get("description"))
    if known.get("type") == "object":
        fields = _fields(known, schema)
        if fields is not None:
            return Form(fields, title, description, is_object=True)
    elif field := _field("", known, schema, True):
        return Form([field._replace(label=title or "Answer", description="")], "", description)
    default = known.get("default", UNSET)
    return Form([Field("", "Answer", "json", default=default)], title, description, drawn=False)


def _fields(schema: dict[str, Any], root: Any) -> list[Field] | None:
    """The fields of an object; None if one of them cannot be asked for."""
    properties, required = schema.get("properties"), schema.get("required") or []
    if not isinstance(properties, dict) or not _UNKNOWN.isdisjoint(schema):
        return None
    if not set(required) <= set(properties):
        return None
    fields = [_field(name, one, root, name in required) for name, one in properties.items()]
    found = [field for field in fields if field is not None]
    return found if len(found) == len(fields) else None


def _field(name: str, given: Any, root: Any, required: bool) -> Field | None:
    schema = _resolved(given, root)
    if schema is None:
        return None
    nullable = schema.get("nullable") is True
    many = schema.get("type") == "array" and schema.get("uniqueItems") is not False
    options = _options(_resolved(schema.get("items"), root) if many else schema)
    kind = _kind(schema) if options is None else ("choices" if many else "choice")
    if kind is None:
        return None
    default = schema.get("default")
    if default is None and not (nullable and required):
        default = UNSET
    label, about = _text(schema.get("title")) or name, _text(schema.get("description"))
    return Field(name, label, kind, required, about, options or (), default)


def _kind(schema: dict[str, Any]) -> Kind | None:
    if not _UNKNOWN.isdisjoint(schema):
        return None
    match schema.get("type"):
        case "string":
            return "lines" if _is_long(schema) else "text"
        case "number" | "integer" | "boolean" as kind:
            return kind  # type: ignore[no-any-return]
    return None


def _is_long(schema: dict[str, Any]) -> bool:
    most = schema.get("maxLength")
    return (
        schema.get("format") == "multiline"
        or (isinstance(most, int | float) and most > LONG)
        or _text(schema.get("contentMediaType")).startswith("text/")
        or "\n" in _text(schema.get("default"))
    )


def _options(schema: dict[str, Any] | None) -> tuple[tuple[str, Any], ...] | None:
    """The values that a schema allows, if it names them."""
    if schema is None:
        return None
    listed = schema.get("oneOf", schema.get("anyOf"))
    if isinstance(listed, list):
        if not all(isinstance(one, dict) and _is_scalar(one.get("const", [])) for one in listed):
            return None
        return tuple(
            (_text(one.get("title")) or _label(one["const"]), one["const"]) for one in listed
        )
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or not all(map(_is_scalar, values)):
        return None
    names = schema.get("enumNames")
    if not isinstance(names, list) or len(names) != len(values):
        names = [""] * len(values)
    return tuple(
        (_text(name) or _label(value), value) for name, value in zip(names, values, strict=True)
    )


def _resolved(schema: Any, root: Any, depth: int = 0) -> dict[str, Any] | None:
    """A schema without its references; ``nullable`` if it also allows null. None if it has others."""
    if not isinstance(schema, dict) or depth > DEPTH:
        return None
    if isinstance(schema.get("$ref"), str):
        return _merged(_pointed_at(schema["$ref"], root), schema, "$ref", root, depth)
    every, some = schema.get("allOf"), schema.get("anyOf")
    if isinstance(every, list) and len(every) == 1:
        return _merged(every[0], schema, "allOf", root, depth)
    if isinstance(some, list) and len(some) == 2:
        others = [one for one in some if not (isinstance(one, dict) and one.get("type") == "null")]
        if len(others) == 1:
            inner = _merged(others[0], schema, "anyOf", root, depth)
            return None if inner is None else inner | {"nullable": True}
    if not isinstance(schema.get("type"), list):
        return schema
    types = [type for type in schema["type"] if type != "null"]
    if len(types) != 1:
        return None
    return schema | {"type": types[0], "nullable": len(types) < len(schema["type"])}


def _merged(
    inner: Any, outer: dict[str, Any], without: str, root: Any, depth: int
) -> dict[str, Any] | None:
    found = _resolved(inner, root, depth + 1)
    rest = {name: value for name, value in outer.items() if name != without}
    return None if found is None else _resolved(found | rest, root, depth + 1)


def _pointed_at(reference: str, root: Any) -> Any:
    """What a reference within the schema leads to, as ``#/$defs/Size``."""
    if not reference.startswith("#/"):
        return None
    found = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
