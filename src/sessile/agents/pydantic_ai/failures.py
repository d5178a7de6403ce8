"""What an error of a model means."""

from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError

from sessile.agents.kit.providers import Kind, kind_of

# By their names, because older versions of PydanticAI do not have all of them.
_KINDS: dict[str, Kind] = {
    "ModelTimeoutError": "timeout",
    "ModelRequestTimeout": "timeout",
    "ModelRateLimitError": "rate",
    "ModelQuotaExceededError": "quota",
    "ModelContextWindowExceededError": "length",
    "ModelAuthenticationError": "key",
    "ModelNotFoundError": "model",
}


def kind_of_error(error: ModelAPIError, began: bool) -> Kind:
    """``began`` is whether the model has sent anything."""
    for base in type(error).__mro__:
        if base.__name__ in _KINDS:
            return _KINDS[base.__name__]
    if isinstance(error, ModelHTTPError):
        return kind_of(error.status_code, str(error))
    if type(error).__name__ == "ModelConnectionError":
        return "broken" if began else "unreachable"
    return "failed"
