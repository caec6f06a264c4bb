"""Answers about model groups."""

from typing import NotRequired

from typing_extensions import TypedDict

from apps.openapi.kinds import GroupStatus, Id, Instant, Route


class ModelGroupMember(TypedDict):
    """A model of a group. The smallest priority is tried first."""

    id: Id
    model_group_id: Id
    model_name: str
    is_alias: bool
    route: Route
    provider: str | None
    priority: int
    is_active: bool
    created_at: Instant


class ModelGroup(TypedDict):
    """A model group: models that are tried one after the other."""

    model_group_id: Id
    group_name: str
    display_name: str
    description: str | None
    status: GroupStatus
    models: list[ModelGroupMember]
    created_at: Instant
    updated_at: Instant


class Resolution(TypedDict):
    """What would answer for a model group. `error` says why nothing would."""

    group_name: str
    primary_model: str | None
    fallback_models: list[str]
    team_has_access: bool
    error: NotRequired[str]


class ModelGroupModels(TypedDict):
    """All the models of a group."""

    group_name: str
    models: list[ModelGroupMember]
