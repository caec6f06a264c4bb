"""What /v1 takes: OpenAI's parameters, by an allow-list (docs/openai.md). What is not on it is ignored.

Refused is what would go past the platform's prices, limits or isolation, or cannot be honoured: an answer that
silently lacks what was asked for is worse than none.
"""

from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import Field, StringConstraints

from apps.core.bodies import Input, JSONObject
from apps.openai_compat.errors import InvalidParameter, UnsupportedParameter

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# Parts that a message's content may have. Each carries what it is under its type's name.
PARTS = ("text", "refusal", "image_url", "input_audio", "file")
# Where an image may lie: at a public address, or in the request itself.
IMAGE_SCHEMES = ("https://", "http://", "data:")
# A tool of any other kind is run by the provider (search, code, MCP), at prices that nobody agreed on.
TOOLS = ("function", "custom")
# Tiers at list price or below it. `auto` is what no tier means.
TIERS = ("auto", "default", "flex")
# Passed on as they are.
COMMON = (
    "n", "temperature", "top_p", "max_tokens", "stop", "presence_penalty", "frequency_penalty", "logit_bias", "seed",
)  # fmt: skip
CHAT = (
    *COMMON, "max_completion_tokens", "logprobs", "top_logprobs", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "reasoning_effort", "verbosity", "modalities", "audio", "prediction",
)  # fmt: skip

Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
Text = Annotated[str, StringConstraints(max_length=255)]
Word = Annotated[str, StringConstraints(max_length=32)]


class Base(Input):
    """What every kind of call has."""

    model: Text | None = None
    metadata: JSONObject | None = None


class Parameters(Base):
    """What chat and legacy completions have in common."""

    n: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Tokens | None = None
    stop: str | list[str] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: int | None = None
    user: Text | None = None
    stream: bool | None = None
    stream_options: JSONObject | None = None

    def passed_on(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Those of these parameters that were given."""
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk of its usage."""
        return bool((self.stream_options or {}).get("include_usage"))

    def require_supported(self) -> None:
        """Raises: InvalidParameter, UnsupportedParameter."""
        if self.n is not None and self.n > settings.CHOICES_PER_CALL_MAX:
            raise InvalidParameter("n", f"n may be {settings.CHOICES_PER_CALL_MAX} at most.")
        if self.stream_options is not None and not self.stream:
            raise InvalidParameter("stream_options", "stream_options is only allowed when stream is true.")


class ChatParameters(Parameters):
    """The body of a chat completion."""

    messages: Annotated[list[JSONObject], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: list[JSONObject] | None = None
    tool_choice: Literal["none", "auto", "required"] | JSONObject | None = None
    parallel_tool_calls: bool | None = None
    response_format: JSONObject | None = None
    reasoning_effort: Word | None = None
    verbosity: Word | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: JSONObject | None = None
    prediction: JSONObject | None = None
    service_tier: Word | None = None
    store: bool | None = None
    safety_identifier: Text | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    web_search_options: JSONObject | None = None
    # Ours, not OpenAI's: the platform checks the answer against its format, and asks again.
    validates: Annotated[bool | None, Field(alias="validate")] = None

    def body(self) -> dict[str, Any]:
        """The request to make, without the model."""
        body = {"messages": self.messages} | self.passed_on(CHAT)
        if self.service_tier not in (None, "auto"):
            body["service_tier"] = self.service_tier
        return body

    def require_supported(self) -> None:
        """Raises: InvalidParameter, UnsupportedParameter."""
        super().require_supported()
        if self.functions is not None or self.function_call is not None:
            name = "functions" if self.functions is not None else "function_call"
            raise UnsupportedParameter(name, f"{name} is not supported. Use tools and tool_choice.")
        if self.web_search_options is not None:
            raise UnsupportedParameter("web_search_options", "web_search_options is not supported. Use tools.")
        if self.store:
            raise UnsupportedParameter("store", "store is not supported: providers are asked to keep nothing.")
        if self.service_tier is not None and self.service_tier not in TIERS:
            raise InvalidParameter("service_tier", f"service_tier must be one of: {', '.join(TIERS)}.")
        for index, message in enumerate(self.messages):
            _require_message(f"messages[{index}]", message)
        for index, tool in enumerate(self.tools or []):
            if tool.get("type") not in TOOLS:
                raise InvalidParameter(f"tools[{index}].type", f"A tool's type must be one of: {', '.join(TOOLS)}.")


class CompletionParameters(Parameters):
    """The body of a legacy completion."""

    prompt: str | list[Any]
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    suffix: str | None = None

    def body(self) -> dict[str, Any]:
        """The chat that asks the same, without the model."""
        text = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        return {"messages": [{"role": "user", "content": text}]} | self.passed_on(COMMON)

    def require_supported(self) -> None:
        """Raises: InvalidParameter, UnsupportedParameter."""
        super().require_supported()
        if isinstance(self.prompt, list) and not (len(self.prompt) == 1 and isinstance(self.prompt[0], str)):
            raise UnsupportedParameter(
                "prompt",
                "prompt must be text, or a list of one text. Send several in requests of their own, with the header"
                " X-Job-Id if they belong together.",
            )
        for name in ("echo", "suffix"):
            if getattr(self, name):
                raise UnsupportedParameter(name, f"{name} is not supported.")
        if self.logprobs is not None:
            raise UnsupportedParameter("logprobs", "logprobs is not supported here. Use /v1/chat/completions.")
        if self.best_of is not None and self.best_of > (self.n or 1):
            raise UnsupportedParameter("best_of", "best_of above n is not supported.")


def _require_message(where: str, message: JSONObject) -> None:
    if message.get("role") not in ROLES:
        raise InvalidParameter(f"{where}.role", f"{where}.role must be one of: {', '.join(ROLES)}.")
    content = message.get("content")
    if not isinstance(content, str | list | None):
        raise InvalidParameter(f"{where}.content", f"{where}.content must be text, a list of parts, or null.")
    for index, part in enumerate(content if isinstance(content, list) else []):
        _require_part(f"{where}.content[{index}]", part)


def _require_part(where: str, part: Any) -> None:
    if not isinstance(part, dict) or part.get("type") not in PARTS:
        raise InvalidParameter(f"{where}.type", f"{where}.type must be one of: {', '.join(PARTS)}.")
    name = part["type"]
    value = part.get(name)
    if name in ("text", "refusal"):
        if not isinstance(value, str):
            raise InvalidParameter(f"{where}.{name}", f"{where}.{name} must be text.")
        return
    if not isinstance(value, dict):
        raise InvalidParameter(f"{where}.{name}", f"{where}.{name} must be an object.")
    if name == "image_url" and not str(value.get("url", "")).lower().startswith(IMAGE_SCHEMES):
        raise InvalidParameter(
            f"{where}.image_url.url", f"{where}.image_url.url must begin with one of: {', '.join(IMAGE_SCHEMES)}."
        )
    if name == "file" and ("file_id" in value or not isinstance(value.get("file_data"), str)):
        # An id names a file in the provider's account, which is the platform's: it may be another customer's.
        raise InvalidParameter(f"{where}.file.file_data", "A file must come in the request itself, as file_data.")
