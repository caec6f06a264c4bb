"""Rate cards and their versions: a draft is written, changed, and activated for now or an instant ahead.

Versions of a card are numbered without gaps. A card has one draft at most, which is always its newest number. Every
change locks its card and leaves an audit row.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest, Now

from apps.core import audit, clock
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.credits import card_terms, pricing
from apps.credits.card_terms import Columns
from apps.credits.card_terms import columns_of as columns_of
from apps.credits.errors import RateCardExists, RateCardNotFound, VersionNotDraft
from apps.credits.models import RateCard, RateCardVersion
from apps.organizations.models import Organization
from apps.teams.models import Team

State = RateCardVersion.State
_AUDITED = "rate_card"


# --- Reading -----------------------------------------------------------------------------------------------


def begun(at: datetime | None = None) -> QuerySet[RateCardVersion]:
    """Versions that had begun by an instant, now without one."""
    return RateCardVersion.objects.filter(state=State.ACTIVE, effective_from__lte=at or Now())


def in_force(card: RateCard, *, at: datetime | None = None) -> RateCardVersion | None:
    """The version of this card that is in force at an instant: of those begun the one that began last."""
    return begun(at).filter(card=card).order_by("-effective_from", "-number").first()


@dataclass(frozen=True, slots=True)
class Effective:
    """What prices a team's job type at an instant: the version (None: the platform's default price), why, and the
    versions of farther cards that it goes before, nearest first."""

    version: RateCardVersion | None
    why: str
    passed_over: list[RateCardVersion]


def effective(team: Team, job_type: str, *, at: datetime | None = None) -> Effective:
    """Which card prices a job that begins at an instant, now without one."""
    of_cards: dict[int, RateCardVersion] = {}
    for version in pricing.candidates(team, job_type, at=at):
        of_cards.setdefault(version.card_id, version)
    if not of_cards:
        return Effective(None, "No card has begun that covers it: the platform's default price.", [])
    first, *others = of_cards.values()
    owner = "team's" if first.card.team_id else "organization's" if first.card.organization_id else "platform's"
    covers = f"for the job type '{first.card.job_type}'" if first.card.job_type else "for every job type"
    why = f"The {owner} card {covers}, version {first.number}: the nearest card that covers it."
    return Effective(first, why, others)


def matching(
    *,
    organization: Organization | None = None,
    team: Team | None = None,
    job_type: str | None = None,
    state: str | None = None,
) -> QuerySet[RateCard]:
    """Cards with owners and versions, of one owner and job type if given.

    `state`: those with such a version: draft, active, or scheduled (active, not begun).
    """
    found = RateCard.objects.select_related("team", "organization").order_by("id")
    if organization is not None:
        found = found.filter(Q(organization=organization) | Q(team__organization=organization))
    if team is not None:
        found = found.filter(team=team)
    if job_type is not None:
        found = found.filter(job_type=job_type)
    if state == "scheduled":
        ahead = RateCardVersion.objects.filter(state=State.ACTIVE, effective_from__gt=Now())
        found = found.filter(pk__in=ahead.values("card"))
    elif state is not None:
        found = found.filter(pk__in=RateCardVersion.objects.filter(state=state).values("card"))
    return found.prefetch_related("versions")


def find(card_id: str) -> RateCard:
    """A card with its owner. Raises: RateCardNotFound."""
    is_id = card_id.isdecimal() and card_id.isascii() and len(card_id) < 19
    cards = RateCard.objects.select_related("team__organization", "organization")
    card = cards.filter(pk=int(card_id)).first() if is_id else None
    if card is None:
        raise RateCardNotFound(f"Rate card '{card_id}' not found")
    return card


def find_version(card: RateCard, number: str | int) -> RateCardVersion:
    """A version of the card. Raises: RateCardNotFound."""
    text = str(number)
    is_number = text.isdecimal() and text.isascii() and len(text) < 10
    version = card.versions.select_related("card").filter(number=int(text)).first() if is_number else None
    if version is None:
        raise RateCardNotFound(f"Rate card '{card.pk}' has no version {text[:20]}")
    return version


def draft_of(card: RateCard) -> RateCardVersion | None:
    """The card's draft, if it has one."""
    return card.versions.filter(state=State.DRAFT).first()


def base_of(card: RateCard, draft: RateCardVersion) -> RateCardVersion | None:
    """The version that was in force when a draft was begun; None when there was none."""
    return in_force(card, at=draft.created_at)


# --- Changing ----------------------------------------------------------------------------------------------


def create(
    *,
    actor: Actor,
    organization: Organization | None = None,
    team: Team | None = None,
    job_type: str = "",
    terms: Columns | None = None,
) -> RateCard:
    """A card of a team, an organization or (of neither) the platform, with its first draft when terms are given.

    Raises: RateCardExists, InvalidField.
    """
    if team is not None and organization is not None:
        raise InvalidField("team_id", "A card has one owner: a team, an organization, or neither for the platform.")
    try:
        with transaction.atomic():
            card = RateCard.objects.create(organization=organization, team=team, job_type=job_type)
            audit.record(
                "rate_card.create",
                actor=actor,
                kind=_AUDITED,
                id=str(card.pk),
                after={
                    "organization_id": organization.organization_id if organization else None,
                    "team_id": team.team_id if team else None,
                    "job_type": job_type,
                },
            )
            if terms is not None:
                add_draft(card, terms, actor=actor)
    except IntegrityError:
        owner = team.team_id if team else organization.organization_id if organization else "the platform"
        covers = f"the job type '{job_type}'" if job_type else "every job type"
        raise RateCardExists(f"There is a rate card of {owner} for {covers}. Add a version to it.") from None
    return card


def add_draft(card: RateCard, terms: Columns, *, actor: Actor) -> RateCardVersion:
    """A new version, not in force. Raises: VersionNotDraft when the card has a draft already."""
    with transaction.atomic():
        locked(card)
        if card.versions.filter(state=State.DRAFT).exists():
            raise VersionNotDraft("The card has a draft: change or discard that one.")
        version = RateCardVersion.objects.create(
            card=card, number=_newest(card) + 1, state=State.DRAFT, created_by=str(actor), **terms
        )
        _record("draft", version, actor, after=_audited(version))
    return version


def change_draft(card: RateCard, number: str | int, terms: Columns, *, actor: Actor) -> RateCardVersion:
    """Give a draft other terms. Raises: RateCardNotFound, VersionNotDraft."""
    with transaction.atomic():
        version = _draft(card, number)
        before = _audited(version)
        for name, value in terms.items():
            setattr(version, name, value)
        version.save(update_fields=list(terms))
        _record("change_draft", version, actor, before=before, after=_audited(version))
    return version


def discard_draft(card: RateCard, number: str | int, *, actor: Actor) -> None:
    """Delete a draft. Raises: RateCardNotFound, VersionNotDraft."""
    with transaction.atomic():
        version = _draft(card, number)
        _record("discard_draft", version, actor, before=_audited(version))
        version.delete()


def rebase_draft(card: RateCard, number: str | int, terms: Columns, *, actor: Actor) -> RateCardVersion:
    """Begin a draft anew from what is in force now, with these terms. Raises: RateCardNotFound, VersionNotDraft."""
    with transaction.atomic():
        discard_draft(card, number, actor=actor)
        return add_draft(card, terms, actor=actor)


def activate(
    card: RateCard,
    number: str | int,
    *,
    actor: Actor,
    effective_from: datetime | None = None,
    reason: str = "",
) -> RateCardVersion:
    """Have a draft price jobs that begin from an instant on, now without one. From here on it never changes.

    Raises: RateCardNotFound, VersionNotDraft, InvalidField for an instant that is past.
    """
    with transaction.atomic():
        version = _draft(card, number)
        if effective_from is not None and effective_from < clock.db_now():
            raise InvalidField(
                "effective_from", "Must not be in the past: jobs have been priced.", value=clock.iso(effective_from)
            )
        version.state = State.ACTIVE
        version.effective_from = effective_from or _at_once(card)
        version.save(update_fields=["state", "effective_from"])
        version.refresh_from_db(fields=["effective_from"])
        _record("activate", version, actor, reason, after={"effective_from": clock.iso(version.effective_from)})
    return version


def put_in_force(card: RateCard, terms: Columns, *, actor: Actor) -> RateCardVersion:
    """A new version of a locked card, in force at once; its draft becomes the next number. The caller audits it."""
    newest = _newest(card)
    draft = card.versions.filter(state=State.DRAFT).first()
    if draft is not None:
        draft.number = newest + 1
        draft.save(update_fields=["number"])
        newest -= 1
    return RateCardVersion.objects.create(
        card=card,
        number=newest + 1,
        effective_from=_at_once(card),
        created_by=str(actor),
        **terms,
    )


def locked(card: RateCard) -> RateCard:
    """The card under its row's lock: what makes version numbers follow each other."""
    return RateCard.objects.select_for_update().get(pk=card.pk)


def _at_once(card: RateCard) -> Combinable:
    """Now, and not before what began last: a transaction that waited for the card's lock has an older now, and the
    version that is written last is to win."""
    last = begun(clock.db_now()).filter(card=card).order_by("-effective_from").first()
    return Now() if last is None else Greatest(Now(), Value(last.effective_from))


def _newest(card: RateCard) -> int:
    return card.versions.order_by("-number").values_list("number", flat=True).first() or 0


def _draft(card: RateCard, number: str | int) -> RateCardVersion:
    """A draft of the card, which is locked from here on."""
    locked(card)
    version = find_version(card, number)
    if version.state != State.DRAFT:
        raise VersionNotDraft(f"Version {version.number} was activated, so it never changes. Write a new version.")
    return version


def _audited(version: RateCardVersion) -> dict[str, Any]:
    return {"number": version.number, **card_terms.as_wire(version)}


def _record(what: str, version: RateCardVersion, actor: Actor, reason: str = "", **more: Any) -> None:
    audit.record(
        f"rate_card.{what}",
        actor=actor,
        kind=_AUDITED,
        id=str(version.card_id),
        reason=f"version {version.number}" + (f": {reason}" if reason else ""),
        **more,
    )
