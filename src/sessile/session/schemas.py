"""JSON Schemas of outputs that clients give (json-schema.org, 2020-12 where they do not say)."""

from typing import Any

from sessile.wire.errors import InvalidOutput


def check_schema(schema: Any) -> None:
    """Raise ``ValueError`` for what is not a JSON Schema, or refers to one elsewhere."""
    import jsonschema_rs  # most servers never need it

    try:
        jsonschema_rs.validator_for(schema, retriever=_refuse)
    except (ValueError, TypeError) as error:
        raise ValueError(f"not a JSON Schema: {_first_line(error)}") from error


def check_output(output: Any, schema: Any) -> None:
    """Raise :class:`~sessile.wire.errors.InvalidOutput` where an output does not match."""
    import jsonschema_rs

    validator = jsonschema_rs.validator_for(schema, retriever=_refuse)
    for error in validator.iter_errors(output):
        where = "/".join(map(str, error.instance_path))
        at = f"`output/{where}`" if where else "`output`"
        raise InvalidOutput(
            f"The output does not match the question's schema: at {at}, {error.message}"
        )


def _refuse(address: str) -> Any:
    raise ValueError("a schema cannot refer to another address")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
