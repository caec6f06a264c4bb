"""Answers about model aliases."""

from typing_extensions import TypedDict

from apps.openapi.answers.shared import Page
from apps.openapi.kinds import AliasStatus, Instant, Route, Usd


class Alias(TypedDict):
    """A model alias: the name that customers use. Prices are dollars per million tokens; null where there is none."""

    model_alias: str
    display_name: str
    provider: str
    actual_model: str
    litellm_model_id: None
    access_groups: list[str]
    description: str | None
    pricing_input: Usd | None
    pricing_output: Usd | None
    status: AliasStatus
    teams_using: list[str]
    route: Route
    is_open: bool
    is_default: bool
    context_window_tokens: int | None
    max_output_tokens: int | None
    default_output_tokens: int | None
    max_choices: int | None
    timeout_s: int | None
    supports_vision: bool | None
    supports_audio: bool | None
    supports_tools: bool | None
    supports_json_schema: bool | None
    supports_streaming: bool | None
    supports_embeddings: bool | None
    created_at: Instant
    updated_at: Instant


class AliasByLitellmModel(Alias):
    """An alias in the words of /api/model-aliases beside its own."""

    alias: str
    litellm_model: str
    active: bool
    teams_with_access: int


class AliasesByLitellmModel(Page):
    """A page of aliases."""

    aliases: list[AliasByLitellmModel]
