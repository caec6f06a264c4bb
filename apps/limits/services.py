"""Limits are set, raised for a time, and deleted; each change leaves an audit row."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from apps.catalog.models import ModelAlias, ModelGroup
from apps.core import audit, clock
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.core.ids import parse_uuid
from apps.core.money import MAX_CREDITS, MICROS
from apps.limits import index
from apps.limits.errors import LimitNotFound
from apps.limits.models import Limit, Metric, Scope
from apps.organizations import services as organizations
from apps.organizations.identity import Operator
from apps.organizations.models import Organization
from apps.organizations.rights import Right
from apps.teams import services as teams
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey

UNITS = {Metric.REQUESTS: "requests", Metric.TOKENS: "tokens", Metric.CALLS: "calls"}
_USER_ID_MAX = 255
# What `rights.LIMITED` says of limits.
SHORT_RAISE = timedelta(days=7)


def unit(metric: str) -> str:
    """What a metric is counted in."""
    return UNITS.get(Metric(metric), "micros")


def put(*, scope: str, id: str = "", team_id: str = "", metric: str, amount: int, actor: Actor) -> tuple[Limit, bool]:
    """Set a limit, in the place of the one there was. Returns it and whether it is new.

    `id` names an organization, team, key, model or end user; `team_id` the end user's team, and no `id` then each
    of its users. Spend is in micros.
    Raises: OrganizationNotFound, TeamNotFound, InvalidField.
    """
    _require(Scope.values, "scope", scope)
    _require(Metric.values, "metric", metric)
    _require_amount("amount", amount)
    subject, organization, team = _subject(scope, id, team_id)
    with transaction.atomic():
        limit, is_new = Limit.objects.select_for_update(of=("self",)).get_or_create(
            scope=scope,
            subject=subject,
            metric=metric,
            defaults={"amount": amount, "organization": organization, "team": team},
        )
        before = {} if is_new else {"amount": limit.amount}
        if is_new or limit.amount != amount:
            limit.amount = amount
            if not is_new:
                _save(limit, "amount")
            _audited("set", limit, actor, before=before, after={"amount": amount})
    _forget()
    return limit, is_new


def change(limit_id: object, *, amount: int, actor: Actor) -> Limit:
    """Give a limit another amount. Raises: LimitNotFound, InvalidField."""
    _require_amount("amount", amount)
    with transaction.atomic():
        limit = find(limit_id, locked=True)
        if limit.amount != amount:
            _audited("set", limit, actor, before={"amount": limit.amount}, after={"amount": amount})
            limit.amount = amount
            _save(limit, "amount")
    _forget()
    return limit


def raise_(limit_id: object, *, amount: int, until: datetime, reason: str, actor: Actor) -> Limit:
    """Allow another amount until an instant, instead of an earlier raise. Raises: LimitNotFound, InvalidField."""
    _require_amount("amount", amount)
    with transaction.atomic():
        limit = find(limit_id, locked=True)
        if until <= clock.db_now():
            raise InvalidField("until", "Must be later than now.", value=until.isoformat())
        before = {"raised_to": limit.raised_to, "raised_until": clock.iso(limit.raised_until)}
        limit.raised_to, limit.raised_until = amount, until
        limit.raise_reason, limit.raised_by = reason, str(actor)[:255]
        _save(limit, "raised_to", "raised_until", "raise_reason", "raised_by")
        after = {"raised_to": amount, "raised_until": clock.iso(until)}
        _audited("raise", limit, actor, before=before, after=after, reason=reason)
    _forget()
    return limit


def require_may_raise(by: Operator, limit_id: object, *, amount: int, until: datetime) -> None:
    """More than today's own amount for up to 7 days is within the limit of those who hold `limits.write` in part.

    Raises: RightMissing, LimitNotFound.
    """
    if by.holds(Right.LIMITS_WRITE):
        return
    limit = find(limit_id, locked=True)
    within = is_short_raise(limit, amount=amount, until=until)
    by.require(Right.LIMITS_WRITE, within=within, doing=f"give this limit {amount} until {clock.iso(until)}")


def is_short_raise(limit: Limit, *, amount: int, until: datetime) -> bool:
    """Whether a raise lies inside the limit of those who hold `limits.write` in part."""
    return amount >= limit.amount and until <= clock.db_now() + SHORT_RAISE


def delete(limit_id: object, *, actor: Actor) -> None:
    """Raises: LimitNotFound."""
    with transaction.atomic():
        limit = find(limit_id, locked=True)
        _audited("delete", limit, actor, before={"amount": limit.amount})
        limit.delete()
    _forget()


def find(limit_id: object, *, locked: bool = False) -> Limit:
    """Raises: LimitNotFound."""
    text = str(limit_id)
    limits = Limit.objects.select_for_update() if locked else Limit.objects.select_related("organization", "team")
    is_number = text.isascii() and text.isdecimal() and len(text) < 19
    limit = limits.filter(pk=int(text)).first() if is_number else None
    if limit is None:
        raise LimitNotFound
    return limit


def matching(
    *,
    scope: str | None = None,
    subject_id: str | None = None,
    team_id: str | None = None,
    organization_id: str | None = None,
    metric: str | None = None,
) -> QuerySet[Limit]:
    """Limits with their owners in a stable order, narrowed by what is given."""
    found = Limit.objects.select_related("organization", "team")
    if scope is not None:
        found = found.filter(scope=scope)
    if team_id is not None:
        found = found.filter(team__team_id=team_id)
    if organization_id is not None:
        found = found.filter(organization__organization_id=organization_id)
    if metric is not None:
        found = found.filter(metric=metric)
    if subject_id is not None:
        found = found.filter(Q(subject=subject_id) | Q(scope=Scope.USER, subject__endswith=f"/{subject_id}"))
    return found


def of_team(team: Team) -> QuerySet[Limit]:
    """The team's own limits, those of its keys and of its users."""
    return Limit.objects.filter(team=team).select_related("organization", "team")


def _subject(scope: str, id: str, team_id: str) -> tuple[str, Organization | None, Team | None]:
    """What is counted, and whose tenant's it is. Raises: InvalidField, OrganizationNotFound, TeamNotFound."""
    if scope == Scope.PLATFORM:
        if id:
            raise InvalidField("id", "The platform has no id: leave it out.", value=id[:100])
        return "", None, None
    if scope == Scope.USER:
        if not team_id:
            raise InvalidField("team_id", "Name the team whose user it is.")
        if len(id) > _USER_ID_MAX:
            raise InvalidField("id", f"Must have at most {_USER_ID_MAX} characters.", value=id[:_USER_ID_MAX])
        team = teams.find(team_id)
        return index.user_subject(team.team_id, id), team.organization, team
    if not id:
        raise InvalidField("id", f"Name the {scope}.")
    if scope == Scope.ORGANIZATION:
        organization = organizations.find(id)
        return organization.organization_id, organization, None
    if scope == Scope.TEAM:
        team = teams.find(id)
        return team.team_id, team.organization, team
    if scope == Scope.KEY:
        parsed = parse_uuid(id)
        key = VirtualKey.objects.select_related("team__organization").filter(pk=parsed).first() if parsed else None
        if key is None:
            raise InvalidField("id", "There is no such key.", value=id[:100])
        return str(key.pk), key.team.organization, key.team
    if not (ModelAlias.objects.filter(name=id).exists() or ModelGroup.objects.filter(name=id).exists()):
        raise InvalidField("id", "There is no model alias or model group of that name.", value=id[:100])
    return id, None, None


def _require(choices: Sequence[str], field: str, value: str) -> None:
    if value not in choices:
        raise InvalidField(field, f"Must be one of: {', '.join(choices)}", value=value[:100])


def _require_amount(field: str, amount: int) -> None:
    if not 0 <= amount <= MAX_CREDITS * MICROS:
        raise InvalidField(field, f"Must be from 0 to {MAX_CREDITS * MICROS}.", value=amount)


def _save(limit: Limit, *fields: str) -> None:
    limit.save(update_fields=[*fields, "updated_at"])
    Limit.objects.filter(pk=limit.pk).update(revision=F("revision") + 1)


def _audited(
    what: str,
    limit: Limit,
    actor: Actor,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> None:
    named = {"scope": limit.scope, "subject": limit.subject, "metric": limit.metric}
    audit.record(
        f"limit.{what}",
        actor=actor,
        kind="limit",
        id=str(limit.pk),
        before=before,
        after={**named, **(after or {})},
        reason=reason,
    )


def _forget() -> None:
    index.forget_cached()
    transaction.on_commit(index.forget_cached)
