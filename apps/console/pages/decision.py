"""One refusal: why, every limit on its way, whether it would pass now, what helps, and what to tell the customer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils import timezone

from apps.catalog.models import ModelAlias, ModelGroup
from apps.console import formats, links
from apps.console.pages import refusal_words as words
from apps.console.pages.base import Crumb, ObjectPage, Tab
from apps.console.templatetags import console as tags
from apps.core.ids import parse_uuid
from apps.core.money import MICROS, exact_credits
from apps.jobs import judging
from apps.jobs.judging import Judgement
from apps.limits import decisions
from apps.limits.errors import DecisionNotFound
from apps.limits.models import Decision
from apps.organizations.models import Organization
from apps.organizations.rights import Right


@dataclass(frozen=True, slots=True)
class LimitRow:
    """A limit on the way: how it stood, or stands."""

    limit: str
    whose: str
    used: str
    held: str
    allowed: str
    left: str
    resets: datetime | None
    verdict: str
    is_refusing: bool


@dataclass(frozen=True, slots=True)
class Help:
    """Something that would let the call pass: a form, filled in."""

    label: str
    url: str
    right: Right


class DecisionPage(ObjectPage):
    route = "decision"
    tabs = (Tab("", "Overview", "console/pages/decision.html"),)
    obj: Decision
    judgement: Judgement

    def load(self, decision_id: str = "", **kwargs: Any) -> None:
        try:
            self.obj = decisions.find(decision_id, team=None)
        except DecisionNotFound:
            raise DecisionNotFound(
                f"There is no refusal {decision_id[:60]}. Refusals are deleted when their time is over."
            ) from None
        self.title = f"Refusal {str(self.obj.pk)[-8:]}"
        self.judgement = judging.now_of(self.obj)

    def url_kwargs(self) -> dict[str, Any]:
        return {"decision_id": str(self.obj.pk)}

    def crumbs(self) -> Sequence[Crumb]:
        team_id = self.obj.team.team_id
        return (Crumb("Refusals", reverse("admin:limits_decision_changelist")), Crumb(team_id, links.team(team_id)))

    def state(self) -> str:
        return "refused"

    def sentence(self) -> str:
        return words.sentence(self.obj)

    def about(self) -> Sequence[tuple[str, Any]]:
        found = self.obj
        job = parse_uuid(found.job_id)
        return (
            ("Refusal", tags.ident(found.pk)),
            ("Code", found.code),
            ("Sent as", f"HTTP {words.status(found.code)}"),
            ("Team", tags.text(found.team.team_id)),
            ("Organization", tags.text(found.organization.organization_id)),
            ("Key", _ident(found.key_id, links.maybe("key", key_id=found.key_id or "-"))),
            ("Job", _ident(found.job_id, links.job(job) if job else "")),
            ("Model asked", tags.text(found.model) if found.model else formats.UNKNOWN),
            ("End customer", tags.text(found.user_id) if found.user_id else formats.UNKNOWN),
            ("When", tags.when(found.created_at)),
        )

    def tab_overview(self) -> dict[str, Any]:
        found, judged = self.obj, self.judgement
        return {
            "then": [_row(state) for state in found.limits],
            "now": [_row(state) for state in judged.limits],
            "judgement": judged,
            "at": timezone.now(),
            "available": judged.available_micros,
            "needed": judged.needed_micros,
            "view_helps": [
                each for each in self.helps() if each.url and self.operator.holds(each.right, within=True)
            ],
            "to_customer": words.to_customer(found, passes=judged.passes),
            "curl": f'curl -H "X-Admin-Key: $TOKEN" $BASE_URL/api/decisions/{found.pk}',
        }

    def helps(self) -> Iterator[Help]:
        """What would let it pass, by what refuses it now; by what refused it then where nothing does."""
        found, here = self.obj, self.request.path
        codes = {code for code, _ in self.judgement.refusals}
        team_id = found.team.team_id
        if codes & {"insufficient_credits", "no_credit_account"}:
            missing = -(-max(0, self.judgement.needed_micros - self.judgement.available_micros) // MICROS) * MICROS
            yield Help(
                f"Grant {formats.credits_in_words(missing or MICROS)} to {team_id}",
                links.with_query(
                    links.maybe("team_grant", team_id=team_id),
                    credits=exact_credits(missing or MICROS),
                    kind="paid",
                    reason=f"refusal {found.pk}",
                    next=here,
                ),
                Right.CREDITS_WRITE,
            )
        if "team_not_active" in codes:
            yield from self._resume(here)
        if "model_not_allowed" in codes and _exists(found.model):
            url = links.maybe("team_models", team_id=team_id) or links.maybe(
                "team_tab", team_id=team_id, tab="models"
            )
            yield Help(
                f"Allow {found.model or 'a model'} for {team_id}",
                links.with_query(url, model=found.model, next=here),
                Right.CATALOG_WRITE,
            )
        if codes & {"key_revoked", "key_expired"}:
            url = links.maybe("team_issue_key", team_id=team_id) or links.maybe(
                "team_tab", team_id=team_id, tab="keys"
            )
            yield Help("Issue another key", links.with_query(url, next=here), Right.KEYS_WRITE)
        for state in self.judgement.limits:
            if state["verdict"] == "refused":
                yield self._raise(state, here)

    def _tab(self, tab: str) -> str:
        return links.maybe("team_tab", team_id=self.obj.team.team_id, tab=tab)

    def _resume(self, here: str) -> Iterator[Help]:
        found = self.obj
        if found.organization.status != Organization.Status.ACTIVE:
            organization_id = found.organization.organization_id
            url = links.maybe("org_resume", organization_id=organization_id)
            yield Help(f"Resume {organization_id}", links.with_query(url, next=here), Right.STATE_WRITE)
        if found.team.status != "active":
            url = links.maybe("team_resume", team_id=found.team.team_id)
            yield Help(f"Resume {found.team.team_id}", links.with_query(url, next=here), Right.STATE_WRITE)

    def _raise(self, state: dict[str, Any], here: str) -> Help:
        url = links.with_query(
            links.maybe("limit_raise"), scope=state["scope"], id=state["id"], metric=state["limit"], next=here
        ) or links.listed("limits_limit", q=state["id"])
        return Help(f"Raise {words.metric(state)} of {words.whose(state)}", url, Right.LIMITS_WRITE)


def _exists(model: str) -> bool:
    """Whether there is something of that name that could be allowed."""
    return ModelAlias.objects.filter(name=model).exists() or ModelGroup.objects.filter(name=model).exists()


def _ident(value: str, url: str) -> Any:
    return tags.ident(value, url) if value else formats.UNKNOWN


def _row(state: dict[str, Any]) -> LimitRow:
    verdict = str(state.get("verdict") or "").replace("_", " ")
    is_refusing = verdict == "refused"
    return LimitRow(
        words.metric(state),
        words.whose(state),
        words.amount(state, state.get("used")),
        words.amount(state, state.get("held")),
        words.amount(state, state.get("allowed")),
        words.amount(state, words.left_of(state)),
        _instant(state.get("resets_at")),
        "refused this" if is_refusing else verdict,
        is_refusing,
    )


def _instant(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
