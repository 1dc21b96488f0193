"""Bodies of requests, as OpenAI's clients send them.

What is not known is refused by name: an option that is passed over in silence would be an answer to another question.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from emotion_circuits.serve.steering import STRONGEST, Steering
from emotion_circuits.tone.goals import FLUENCY, SIMILARITY

__all__ = ["ChatBody", "CompletionBody", "ReadingsBody", "ToneBody"]

_Text = Annotated[str, Field(max_length=200_000)]
_Stop = Annotated[str, Field(min_length=1, max_length=200)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = Field(default=None, max_length=500)


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    include_usage: bool = False
    include_obfuscation: bool = False


class _Writing(_Body):
    n: int = Field(default=1, ge=1, le=32)
    temperature: float = Field(default=1.0, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: tuple[_Stop, ...] = Field(default=(), max_length=4)
    stream: bool = False
    stream_options: _StreamOptions | None = None
    user: str | None = Field(default=None, max_length=500)
    steering: Steering = Field(default_factory=dict)
    readings: bool = False
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _several(cls, given: Any) -> Any:
        return () if given is None else (given,) if isinstance(given, str) else given

    @field_validator("steering", mode="before")
    @classmethod
    def _none(cls, given: Any) -> Any:
        return {} if given is None else given

    @field_validator("n", "temperature", "top_p", "stream", mode="before")
    @classmethod
    def _default(cls, given: Any, info: Any) -> Any:
        return cls.model_fields[info.field_name].default if given is None else given


class CompletionBody(_Writing):
    """Of ``/v1/completions``."""

    prompt: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=32)]
    max_tokens: int = Field(default=16, ge=1, le=4096)
    logprobs: int | None = Field(default=None, ge=0, le=5)
    echo: Literal[False] | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _prompts(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @property
    def top(self) -> int | None:
        """How many alternatives of a token are told."""
        return self.logprobs


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text"]
    text: _Text


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: _Text | tuple[_Part, ...]
    name: str | None = Field(default=None, max_length=100)

    @property
    def text(self) -> str:
        """All of it."""
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


class ChatBody(_Writing):
    """Of ``/v1/chat/completions``."""

    messages: Annotated[tuple[_Message, ...], Field(min_length=1, max_length=256)]
    max_tokens: int | None = Field(default=None, ge=1, le=4096)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=4096)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)

    @model_validator(mode="after")
    def _together(self) -> ChatBody:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("'top_logprobs' needs 'logprobs': true")
        return self

    @property
    def top(self) -> int | None:
        """How many alternatives of a token are told."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def length(self) -> int:
        """Tokens at most."""
        return self.max_completion_tokens or self.max_tokens or 256


class ReadingsBody(_Body):
    """Of ``/v1/readings``."""

    input: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=256)]

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given


class _Target(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    at_most: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    of: Literal["probability", "share"] = "probability"

    @model_validator(mode="after")
    def _one_of(self) -> _Target:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either 'at_least' or 'at_most'")
        return self


def _as_target(given: Any) -> Any:
    return {"at_least": given} if isinstance(given, int | float) and not isinstance(given, bool) else given


class ToneBody(_Body):
    """Of ``/v1/tone``."""

    messages: Annotated[tuple[_Message, ...], Field(max_length=256)] | None = None
    prompt: _Text | None = None
    goal: Annotated[str, Field(max_length=1000)] | None = None
    targets: Annotated[dict[str, Annotated[_Target, BeforeValidator(_as_target)]], Field(max_length=16)] = Field(
        default_factory=dict
    )
    fluency: float = Field(default=FLUENCY, ge=1, le=100, allow_inf_nan=False)
    similarity: float = Field(default=SIMILARITY, ge=0, le=1, allow_inf_nan=False)
    tries: int = Field(default=6, ge=1, le=16)
    n: int = Field(default=4, ge=1, le=16)
    beyond: float | None = Field(default=None, ge=1, le=STRONGEST, allow_inf_nan=False)
    prompting: bool = False
    max_tokens: int = Field(default=60, ge=1, le=1024)
    temperature: float = Field(default=0.7, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)

    @model_validator(mode="after")
    def _asks(self) -> ToneBody:
        if bool(self.messages) == (self.prompt is not None):
            raise ValueError("give either 'messages', a chat, or 'prompt', a text to continue")
        if self.messages and self.messages[-1].role != "user":
            raise ValueError("the last message is the user's, and is replied to")
        if not self.goal and not self.targets:
            raise ValueError("give a 'goal' in words, or 'targets' by value")
        return self
