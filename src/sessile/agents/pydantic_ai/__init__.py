"""PydanticAI agents."""

from sessile.agents.pydantic_ai.agent import PydanticAIAgent

__all__ = ["PydanticAIAgent"]
