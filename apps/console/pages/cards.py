"""Rate cards: their list, and one card with its draft, what it says in examples, and a replay of past jobs."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet, Sum
from django.urls import reverse

from apps.analytics import figures
from apps.analytics.figures import Filters, Sums
from apps.analytics.models import Bucket, Level
from apps.analytics.ranges import Preset, of_preset
from apps.console import formats
from apps.console.actions import card_form
from apps.console.actions.cards import Replayed, url_of
from apps.console.lists import columns
from apps.console.lists.base import Empty, ListPage, Narrowed
from apps.console.lists.filters import ORGANIZATION, TEAM, Choice
from apps.console.pages.base import Button, Crumb, ObjectPage, Tab
from apps.console.templatetags import console as tags
from apps.core import clock
from apps.core.money import MICROS, NANOUSD
from apps.credits import card_terms, cards, pricing, settlement
from apps.credits.card_words import in_words, preview
from apps.credits.models import RateCard, RateCardVersion
from apps.credits.settlement import Verdict, Work
from apps.jobs import replay
from apps.jobs.replay import Draft
from apps.organizations.rights import Right

# What a page may read while somebody waits; more is for `manage.py cards replay`.
REPLAY_JOBS_MAX = 50_000
_TEAMS_SHOWN = 20
_DAYS = (7, 30, 90)


def _has(value: str) -> Q:
    versions = RateCardVersion.objects.filter(state=cards.State.DRAFT)
    if value == "scheduled":
        versions = RateCardVersion.objects.filter(state=cards.State.ACTIVE, effective_from__gt=clock.now())
    return Q(pk__in=versions.values("card"))


class CardList(ListPage):
    title = "Rate cards"
    noun = "rate cards"
    line = "A card says what jobs cost. Jobs and margin are of its owner and job type, whichever card priced them."
    search_help = "job type, team or organization"
    ordering = ("team_id", "organization_id", "job_type", "pk")
    export_name = "rate-cards"
    empty = Empty("No cards. Every job costs 1 credit until one exists.", "New card", "/admin/card/new/")
    before_template = "console/pages/card/unpriced.html"
    columns = (
        columns.link("Job type", card_form.name_of, url_of, order="job_type"),
        columns.text("Applies to", card_form.applies_to, place="second"),
        columns.plain("Version", lambda card: card.current and f"{card.current.number}"),
        columns.when("Since", lambda card: card.current and card.current.effective_from, place="rest"),
        columns.plain("Kind", lambda card: card.current and card.current.mode.replace("_", " ")),
        columns.plain("Price", lambda card: card.current and in_words(card.current), place="second"),
        columns.count("Jobs, 30 days", lambda card: card.sums.jobs, place="amount"),
        columns.usd("Margin, 30 days", lambda card: card.sums.margin_nanousd),
        columns.plain("Ahead", lambda card: card.ahead, place="second"),
    )
    filters = (
        Choice("has", "With", choices=(("draft", "a draft"), ("scheduled", "a scheduled version")), conditions=_has),
        TEAM,
        ORGANIZATION,
    )

    def get_rows(self) -> QuerySet[Any]:
        return RateCard.objects.select_related("team", "organization")

    def search(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        return rows.filter(
            Q(job_type__icontains=term)
            | Q(team__team_id__istartswith=term)
            | Q(organization__organization_id__istartswith=term)
        )

    def buttons(self) -> Sequence[Button]:
        return (Button("New card", reverse("admin:card_new"), Right.CARDS_WRITE, is_main=True),)

    def decorate(self, rows: Sequence[Any]) -> None:
        now = clock.now()
        versions: dict[int, list[RateCardVersion]] = {}
        for version in RateCardVersion.objects.filter(card__in=rows).order_by("-effective_from", "-number"):
            versions.setdefault(version.card_id, []).append(version)
        sums = self._sums(rows)
        for card in rows:
            of_card = versions.get(card.pk, [])
            active = [each for each in of_card if each.state == cards.State.ACTIVE]
            card.current = next((each for each in active if each.effective_from <= now), None)
            scheduled = [f"version {each.number} scheduled" for each in active if each.effective_from > now]
            card.ahead = ", ".join(["draft"] * any(each not in active for each in of_card) + scheduled)
            card.sums = sums(card)

    def _sums(self, rows: Sequence[RateCard]) -> Any:
        """What each card's owner and job type came to in 30 days: by rollups, two queries at most."""
        owned = [card for card in rows if card.team_id or card.organization_id]
        found: dict[tuple[int | None, int | None, str], Sums] = {}
        if owned:
            wanted = Q(team__in=[card.team_id for card in owned if card.team_id]) | Q(
                organization__in=[card.organization_id for card in owned if card.organization_id]
            )
            since = clock.now() - timedelta(days=30)
            groups = Bucket.objects.filter(wanted, level=Level.DAY, starts_at__gte=since).order_by()
            totals = {name: Sum(name) for name in figures.NAMES}
            for row in groups.values("team_id", "organization_id", "job_type").annotate(**totals):
                for owner in ((row["team_id"], None), (None, row["organization_id"])):
                    for job_type in {row["job_type"], ""}:
                        found.setdefault((*owner, job_type), Sums()).add(row)
        for job_type, sums in self.platform().items():
            found[None, None, job_type] = sums
            found.setdefault((None, None, ""), Sums()).add({name: getattr(sums, name) for name in figures.NAMES})
        return lambda card: found.get((card.team_id, card.organization_id, card.job_type), Sums())

    def platform(self) -> dict[str, Sums]:
        """What each job type came to in 30 days."""
        if not hasattr(self, "_platform"):
            found = figures.groups("job_type", of_preset(Preset.MONTH, "UTC"), Filters())
            self._platform = {job_type: sums for job_type, sums in found.items() if job_type}
        return self._platform

    def before_table(self, narrowed: Narrowed) -> dict[str, Any]:
        """Job types of the last 30 days that no card names."""
        named = set(RateCard.objects.values_list("job_type", flat=True).distinct())
        unnamed = sorted((-sums.jobs, name) for name, sums in self.platform().items() if name not in named)
        return {
            "unnamed": [(name, -jobs) for jobs, name in unnamed[:10] if jobs],
            "has_general": "" in named,
            "may_price": self.operator.holds(Right.CARDS_WRITE),
        }


class CardPage(ObjectPage):
    route = "card"
    tabs = (
        Tab("", "Versions", "console/pages/card/overview.html"),
        Tab("examples", "Examples", "console/pages/card/examples.html"),
        Tab("draft", "Draft", "console/pages/card/draft.html"),
        Tab("replay", "Replay", "console/pages/card/replay.html"),
    )
    obj: RateCard

    def load(self, card_id: str = "", **kwargs: Any) -> None:
        self.obj = cards.find(card_id)
        self.title = str(self.obj)
        self.versions = list(self.obj.versions.order_by("-number")[:200])
        now = clock.now()
        begun = [each for each in self.versions if each.state != cards.State.DRAFT and each.effective_from <= now]
        self.current = max(begun, key=lambda each: (each.effective_from, each.number), default=None)
        self.draft = next((each for each in self.versions if each.state == cards.State.DRAFT), None)
        self.base = cards.base_of(self.obj, self.draft) if self.draft else self.current

    def url_kwargs(self) -> dict[str, Any]:
        return {"card_id": self.obj.pk}

    def crumbs(self) -> Sequence[Crumb]:
        return (Crumb("Rate cards", reverse("admin:credits_ratecard_changelist")),)

    def sentence(self) -> str:
        if self.current is None:
            return "No version has begun: this card prices nothing yet."
        since = formats.clock(self.current.effective_from)
        return f"Version {self.current.number} in force since {since}: {in_words(self.current)}."

    def about(self) -> Sequence[tuple[str, Any]]:
        return (
            ("Applies to", tags.text(card_form.applies_to(self.obj))),
            ("Job type", tags.text(card_form.name_of(self.obj))),
            ("Created", tags.when(self.obj.created_at)),
            ("API", tags.text(f"GET /api/rate-cards/{self.obj.pk}")),
        )

    def buttons(self) -> Sequence[Button]:
        def to(label: str, action: str, **more: bool) -> Button:
            url = reverse(f"admin:card_{action}", kwargs=self.url_kwargs())
            return Button(label, url, Right.CARDS_WRITE, **more)

        if self.draft is None:
            return (to("New draft", "edit", is_main=True),)
        replay_url = f"{self.tab_url('replay')}?days=30"
        if card_form.came_into_force(self.base, self.current):
            return (to("Discard draft", "discard"), to("Rebase draft", "rebase", is_main=True))
        return (
            to("Discard draft", "discard"),
            to("Edit draft", "edit"),
            Button("Replay", replay_url, Right.VIEW),
            to("Activate draft", "activate", is_main=True),
        )

    def tab_overview(self) -> dict[str, Any]:
        now = clock.now()
        rows = [
            (version, card_form.state_of(version, self.current, now), in_words(version)) for version in self.versions
        ]
        return {"versions": rows}

    def tab_examples(self) -> dict[str, Any]:
        shown = [each for each in (self.current, self.draft) if each is not None]
        given = self.request.GET
        sizes = _sizes(given.get("usd", ""), given.get("tokens", ""), given.get("failed", ""))
        return {
            "previews": [(each, preview(pricing.terms_of(each))) for each in shown],
            "sizes": given,
            "is_wrong": sizes is None and any(given.get(name) for name in ("usd", "tokens", "failed")),
            "answers": [] if sizes is None else [(each, _priced(each, sizes)) for each in shown],
        }

    def tab_draft(self) -> dict[str, Any]:
        draft = self.draft
        return {
            "draft": draft,
            "words": in_words(draft) if draft else "",
            "changes": card_form.changes(self.current, card_terms.columns_of(draft)) if draft else [],
            "newer": card_form.came_into_force(self.base, self.current) if draft else "",
        }

    def tab_replay(self) -> dict[str, Any]:
        days = self.request.GET.get("days", "")
        context = {"draft": self.draft, "days_choices": _DAYS, "jobs_max": REPLAY_JOBS_MAX}
        if self.draft is None or not days.isdecimal() or int(days[:4]) not in _DAYS:
            return context
        asked = Draft.of_version(self.draft)
        context |= {"days": int(days)}
        if replay.size(asked, days=int(days), most=REPLAY_JOBS_MAX) > REPLAY_JOBS_MAX:
            command = f"manage.py cards replay --draft {self.draft.pk} --days {days}"
            return context | {"command": command}
        found = replay.replay(asked, days=int(days))
        moving = [(team, each) for team, each in found.teams if each.moved_micros]
        moves_far = any(each.moves_far for _, each in moving)
        return context | {
            "replay": found,
            "total": found.total,
            "margins": (
                found.total.then_nanousd - found.total.cost_nanousd,
                found.total.draft_nanousd - found.total.cost_nanousd,
            ),
            "teams": moving[:_TEAMS_SHOWN],
            "more_teams": max(0, len(moving) - _TEAMS_SHOWN),
            "moves_far": moves_far,
            "activate_url": self._activate_url(found, int(days), moves_far=moves_far),
        }

    def _activate_url(self, found: replay.Replay, days: int, *, moves_far: bool) -> str:
        """The draft's activation, told that it was replayed."""
        total = found.total
        words = (
            f"Replayed over {days} days: {formats.count(total.jobs)} jobs, {formats.credits(total.then_micros)} →"
            f" {formats.credits(total.draft_micros)} credits"
            + (", and a team's bill moves by more than 20 %." if moves_far else ".")
        )
        current = self.current.number if self.current else 0
        token = Replayed(card_form.fingerprint(self.draft), current, moves_far, words).token()
        return f"{reverse('admin:card_activate', kwargs=self.url_kwargs())}?replay={token}"


def _sizes(usd: str, tokens: str, failed: str) -> Work | None:
    """A job of these sizes; None when they are no sizes."""
    try:
        nanousd = int(Decimal(usd or "0") * NANOUSD)
        counts = [int(text or "0") for text in (tokens[:13], failed[:5])]
    except (InvalidOperation, ValueError, OverflowError):
        return None
    if not (usd or tokens) or not 0 <= nanousd <= 10**15 or min(counts) < 0:
        return None
    return Work(successful_calls=1, failed_calls=counts[1], tokens=counts[0], provider_nanousd=nanousd)


def _priced(version: RateCardVersion, work: Work) -> list[tuple[str, int, int, int]]:
    """By how the job ends: credits, provider cost and margin at the list price of a credit."""
    terms, rows = pricing.terms_of(version), []
    for verdict in Verdict:
        micros = settlement.due(terms, verdict, work).micros
        earned = micros * settings.CREDIT_LIST_PRICE_NANOUSD // MICROS
        rows.append((verdict.value, micros, work.provider_nanousd, earned - work.provider_nanousd))
    return rows
