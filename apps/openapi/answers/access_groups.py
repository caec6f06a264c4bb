"""Answers about access groups."""

from typing_extensions import TypedDict

from apps.openapi.kinds import GroupStatus, Instant


class AccessGroupAlias(TypedDict):
    """An alias of an access group."""

    model_alias: str
    display_name: str
    provider: str
    actual_model: str


class AccessGroup(TypedDict):
    """An access group: aliases that teams are given together."""

    group_name: str
    display_name: str
    description: str | None
    status: GroupStatus
    model_aliases: list[AccessGroupAlias]
    teams_using: list[str]
    created_at: Instant
    updated_at: Instant
