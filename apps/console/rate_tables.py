"""Which rate card prices what, on the pages of teams and organizations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from apps.console import links
from apps.console.lists import columns
from apps.console.lists.columns import Column
from apps.console.tables import Table
from apps.core.admin_columns import with_unit
from apps.credits import card_words, cards, pricing
from apps.credits.models import RateCard, RateCardVersion
from apps.organizations.models import Organization
from apps.teams.models import Team

_EVERY = "every job type"


@dataclass(frozen=True, slots=True)
class Winner:
    """A job type and the version that prices it; none: the platform's default price."""

    job_type: str
    version: RateCardVersion | None


def _in_force(owned: Q) -> list[RateCardVersion]:
    """The version in force of each of these cards. One query."""
    found: dict[int, RateCardVersion] = {}
    begun = cards.begun().filter(owned).select_related("card__team", "card__organization")
    for version in begun.order_by("effective_from", "number"):
        found[version.card_id] = version
    return list(found.values())


def _nearness(card: RateCard) -> int:
    """A team's card goes before its organization's, that before the platform's."""
    return 0 if card.team_id else 1 if card.organization_id else 2


def winners(team: Team) -> list[Winner]:
    """What prices each job type that a card in force names, and all others. One query."""
    owned = (
        Q(card__team=team)
        | Q(card__organization=team.organization_id)
        | Q(card__team__isnull=True, card__organization__isnull=True)
    )
    found = _in_force(owned)
    types = sorted({version.card.job_type for version in found} | {""})
    return [Winner(job_type, _nearest(found, job_type)) for job_type in types]


def _nearest(found: Sequence[RateCardVersion], job_type: str) -> RateCardVersion | None:
    covering = [version for version in found if version.card.job_type in ("", job_type)]
    return min(covering, key=lambda each: _order(each, job_type), default=None)


def _order(version: RateCardVersion, job_type: str) -> tuple[int, int]:
    return (_nearness(version.card), 0 if version.card.job_type == job_type else 1)


def which_card_wins(team: Team) -> Table:
    return Table(
        "What prices its jobs",
        (
            columns.text("Job type", lambda row: row.job_type or "all others", place="first"),
            columns.text("Price", lambda row: _price(row.version), place="second"),
            _card_column(lambda row: row.version),
        ),
        winners(team),
        "",
        note="The nearest card wins: the team's, then the organization's, then the platform's.",
    )


def cards_of(organization: Organization) -> Table:
    """The organization's own cards, those of its teams, and the platform's that it inherits."""
    owned = (
        Q(card__organization=organization)
        | Q(card__team__organization=organization)
        | Q(card__team__isnull=True, card__organization__isnull=True)
    )
    found = sorted(_in_force(owned), key=lambda each: (each.card.job_type, _nearness(each.card), each.card_id))
    return Table(
        "Rate cards in force",
        (
            columns.text("Job type", lambda row: row.card.job_type or _EVERY, place="first"),
            columns.text("Price", lambda row: _price(row), place="second"),
            _card_column(lambda row: row),
        ),
        found,
        f"None: every job costs {with_unit(pricing.default_terms().price_micros)}.",
        note="Of the cards for a job type the nearest wins: a team's, then the organization's, then the platform's.",
    )


def _price(version: RateCardVersion | None) -> str:
    if version is None:
        return f"{with_unit(pricing.default_terms().price_micros)} a job, the platform's default"
    return card_words.described(version)


def _card_column(read: Any) -> Column:
    def label(row: Any) -> str:
        version = read(row)
        return "no card" if version is None else f"{owner_of(version.card)}, version {version.number}"

    def url(row: Any) -> str:
        version = read(row)
        return "" if version is None else links.maybe("card", card_id=version.card_id)

    return columns.link("Whose card", label, url, place="second")


def owner_of(card: RateCard) -> str:
    if card.team is not None:
        return f"team {card.team.team_id}"
    return f"organization {card.organization.organization_id}" if card.organization is not None else "the platform"
