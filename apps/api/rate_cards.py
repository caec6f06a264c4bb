"""Rate cards, for operators: cards with their versions, drafts, activation, and which card prices what."""

from datetime import datetime
from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.authentication import OperatorView
from apps.api.fields import query_choice, query_error, query_text
from apps.api.idempotent import respond
from apps.api.instants import Instant, query_instant
from apps.api.listing import listed, require_page
from apps.api.parsing import Input, json_body, parse, validate
from apps.core.clock import db_now, iso
from apps.credits import card_terms, cards
from apps.credits.card_terms import CardInput, TermsInput
from apps.credits.models import RateCard, RateCardVersion
from apps.organizations import services as organizations
from apps.organizations.rights import Right
from apps.teams import services as teams

STATES = ("draft", "active", "scheduled")


class ActivateInput(Input):
    """From when on a draft is to price; without an instant at once."""

    effective_from: Instant | None = None


_ORDERS = {"job_type": "job_type", "created_at": "created_at"}


class RateCardList(OperatorView):
    """GET and POST /api/rate-cards"""

    rights = {"GET": Right.VIEW, "POST": Right.CARDS_WRITE}

    def get(self, request: Request) -> Response:
        require_page(request)
        organization, team = query_text(request, "organization_id"), query_text(request, "team_id")
        state = query_choice(request, "state", STATES)
        matching = cards.matching(
            organization=organizations.find(organization) if organization else None,
            team=teams.find(team) if team else None,
            job_type=_job_type(request),
            state=state,
        )
        found, now = listed(request, matching, default=100, orders=_ORDERS), db_now()
        return Response(found.body("rate_cards", (presented(card, now=now) for card in found.rows)))

    def post(self, request: Request) -> Response:
        body = parse(CardInput, request)

        def effect() -> dict[str, Any]:
            card = cards.create(
                actor=self.caller.actor,
                organization=organizations.find(body.organization_id) if body.organization_id else None,
                team=teams.find(body.team_id) if body.team_id else None,
                job_type=body.job_type or "",
                terms=card_terms.columns(body),
            )
            return {"card": card.pk}

        return respond(self, request, effect=effect, render=lambda ids, _: _card(str(ids["card"])))


class OneRateCard(OperatorView):
    """GET /api/rate-cards/{card_id}"""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request, card_id: str) -> Response:
        return Response(_card(card_id))


class RateCardVersions(OperatorView):
    """POST /api/rate-cards/{card_id}/versions: a draft."""

    rights = {"POST": Right.CARDS_WRITE}

    def post(self, request: Request, card_id: str) -> Response:
        terms = card_terms.columns(parse(TermsInput, request))

        def effect() -> dict[str, Any]:
            return {"number": cards.add_draft(cards.find(card_id), terms, actor=self.caller.actor).number}

        return respond(self, request, effect=effect, render=lambda ids, _: _version_of(card_id, ids["number"]))


class OneRateCardVersion(OperatorView):
    """GET, PATCH and DELETE /api/rate-cards/{card_id}/versions/{number}: a draft may be changed and discarded."""

    rights = {"GET": Right.VIEW, "PATCH": Right.CARDS_WRITE, "DELETE": Right.CARDS_WRITE}

    def get(self, request: Request, card_id: str, number: str) -> Response:
        return Response(_version_of(card_id, number))

    def patch(self, request: Request, card_id: str, number: str) -> Response:
        card = cards.find(card_id)
        changes = json_body(request)
        validate(Input, changes)
        with transaction.atomic():
            # Two changes of different parts at the same moment are both kept.
            cards.locked(card)
            given = validate(TermsInput, card_terms.as_given(cards.find_version(card, number)) | changes)
            cards.change_draft(card, number, card_terms.columns(given), actor=self.caller.actor)
        return Response(_version_of(card_id, number))

    def delete(self, request: Request, card_id: str, number: str) -> Response:
        cards.discard_draft(cards.find(card_id), number, actor=self.caller.actor)
        return Response({"card_id": card_id, "number": int(number), "message": "Draft discarded"})


class ActivateVersion(OperatorView):
    """POST /api/rate-cards/{card_id}/versions/{number}/activate"""

    rights = {"POST": Right.CARDS_WRITE}

    def post(self, request: Request, card_id: str, number: str) -> Response:
        body = parse(ActivateInput, request)

        def effect() -> dict[str, Any]:
            cards.activate(cards.find(card_id), number, actor=self.caller.actor, effective_from=body.effective_from)
            return {}

        return respond(self, request, effect=effect, render=lambda ids, _: _version_of(card_id, number))


class EffectiveRateCard(OperatorView):
    """GET /api/rate-cards/effective: what prices a team's job type at an instant, and why."""

    rights = {"GET": Right.VIEW}

    def get(self, request: Request) -> Response:
        team_id = query_text(request, "team_id")
        if team_id is None:
            raise query_error("team_id", "Field required", kind="missing")
        at = query_instant(request, "at") or db_now()
        job_type = _job_type(request) or ""
        found = cards.effective(teams.find(team_id), job_type, at=at)
        return Response(
            {
                "team_id": team_id,
                "job_type": job_type or None,
                "at": iso(at),
                "why": found.why,
                "version": _with_card(found.version) if found.version else None,
                "passed_over": [_with_card(version) for version in found.passed_over],
            }
        )


def _job_type(request: Request) -> str | None:
    """Empty for cards of every job type, None where it is left out. Raises: InvalidBody."""
    value: str | None = request.GET.get("job_type")
    if value is not None and (len(value) > 100 or "\x00" in value):
        raise query_error("job_type", "Must be text of at most 100 characters", value=value)
    return value


def presented(card: RateCard, *, now: datetime) -> dict[str, Any]:
    """A card with all its versions as they stand now, newest first."""
    versions = sorted(card.versions.all(), key=lambda version: version.number, reverse=True)
    begun = [version for version in versions if _has_begun(version, now)]
    current = max(begun, key=lambda version: (version.effective_from, version.number), default=None)
    return _named(card) | {
        "created_at": iso(card.created_at),
        "in_force": current.number if current else None,
        "versions": [_shown(version, state=_state(version, current, now)) for version in versions],
    }


def _card(card_id: str) -> dict[str, Any]:
    return presented(cards.find(card_id), now=db_now())


def _named(card: RateCard) -> dict[str, Any]:
    return {
        "card_id": card.pk,
        "scope": "team" if card.team_id else "organization" if card.organization_id else "platform",
        "organization_id": card.organization.organization_id if card.organization else None,
        "team_id": card.team.team_id if card.team else None,
        "job_type": card.job_type or None,
    }


def _has_begun(version: RateCardVersion, now: datetime) -> bool:
    return bool(version.state == cards.State.ACTIVE and version.effective_from <= now)


def _state(version: RateCardVersion, current: RateCardVersion | None, now: datetime) -> str:
    if version.state == cards.State.DRAFT:
        return "draft"
    if not _has_begun(version, now):
        return "scheduled"
    return "in_force" if current is not None and version.pk == current.pk else "superseded"


def _shown(version: RateCardVersion, *, state: str) -> dict[str, Any]:
    return {
        "number": version.number,
        "state": state,
        "effective_from": None if state == "draft" else iso(version.effective_from),
        "created_by": version.created_by or None,
        "created_at": iso(version.created_at),
        "terms": card_terms.as_wire(version),
    }


def _with_card(version: RateCardVersion) -> dict[str, Any]:
    return _named(version.card) | {
        "number": version.number,
        "effective_from": iso(version.effective_from),
        "terms": card_terms.as_wire(version),
    }


def _version_of(card_id: str, number: str | int) -> dict[str, Any]:
    card = cards.find(card_id)
    wanted = cards.find_version(card, number)
    versions: list[dict[str, Any]] = presented(card, now=db_now())["versions"]
    return _named(card) | next(each for each in versions if each["number"] == wanted.number)
