"""Limits: set, change, raise for a time, remove."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.urls import reverse
from django.utils import timezone

from apps.console import formats
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, ReasonForm
from apps.core import clock
from apps.core.actors import Actor
from apps.core.money import MICROS, exact_credits
from apps.limits import index, services
from apps.limits.models import RATES, Limit, Metric, Scope
from apps.organizations.rights import Right

METRICS: dict[str, str] = {
    Metric.REQUESTS.value: "Requests a minute",
    Metric.TOKENS.value: "Tokens a minute",
    Metric.CALLS.value: "Calls at a time",
    Metric.SPEND_DAY.value: "Credits a day",
    Metric.SPEND_WEEK.value: "Credits a week",
    Metric.SPEND_MONTH.value: "Credits a month",
}


def subject_words(limit: Limit) -> str:
    """Whose calls it counts: "team acme", "each user of team acme"."""
    if limit.scope == Scope.USER:
        team_id, _, user_id = limit.subject.partition("/")
        return f"user {user_id} of team {team_id}" if user_id else f"each user of team {team_id}"
    return f"{limit.scope} {limit.subject}".rstrip()


def amount_words(metric: str, amount: int) -> str:
    """Rates as they are counted, spend in credits."""
    return formats.count(amount) if metric in RATES else formats.credits(amount)


def own_amount(metric: str, amount: int) -> str:
    """Exact, as a form takes it and a CSV has it."""
    return str(amount) if metric in RATES else exact_credits(amount)


def url_of(limit: Limit) -> str:
    return reverse("admin:limit", kwargs={"limit_id": limit.pk})


def _amount_field(**more: Any) -> forms.DecimalField:
    return forms.DecimalField(
        label="Amount",
        required=False,
        min_value=Decimal(0),
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        help_text="requests, tokens, calls, or credits of spend",
        **more,
    )


class AmountForm(ActionForm):
    """Either no limit of its own, or an amount: so that clearing is no special value."""

    metric: str = ""
    how = forms.ChoiceField(
        label="Limit",
        choices=(("limit", "Limit to the amount below"), ("none", "No limit of its own")),
        initial="limit",
    )
    amount = _amount_field()

    def __init__(self, *args: Any, metric: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.metric = metric

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        amount = given.get("amount")
        if given.get("how") == "limit" and "amount" not in self.errors:
            _require_amount(self, given.get("metric") or self.metric, amount)
        return given


def _require_amount(form: forms.Form, metric: str, amount: Decimal | None) -> None:
    if amount is None:
        form.add_error("amount", "Say how much.")
    elif metric in RATES and amount != int(amount):
        form.add_error("amount", "Must be a whole number.")
    elif metric and amount * MICROS != int(amount * MICROS):
        form.add_error("amount", "Credits have up to 6 decimals.")


def stored(metric: str, amount: Decimal) -> int:
    """What was typed, as limits keep it."""
    return int(amount) if metric in RATES else int(amount * MICROS)


class SetLimitForm(AmountForm):
    """Whose, of what, and how much."""

    scope = forms.ChoiceField(choices=Scope.choices, initial=Scope.TEAM)
    id = forms.CharField(
        label="Id",
        required=False,
        max_length=255,
        help_text="of an organization, team, key, model or end user; empty for the platform or each user of a team",
    )
    team_id = forms.CharField(label="Team of the end user", required=False, max_length=255)
    metric_ = forms.ChoiceField(label="What", choices=tuple(METRICS.items()))
    field_order = ("scope", "id", "team_id", "metric_", "how", "amount")

    def clean(self) -> dict[str, Any]:
        self.metric = self.cleaned_data.get("metric_", "")
        return super().clean()


class SetLimit(Action):
    """Set a limit in the place of the one there was, or clear it."""

    right = Right.LIMITS_WRITE
    form_class = SetLimitForm
    verb = "Set limit"
    busy = "Setting…"
    title = "New limit"
    is_live = True

    def load(self, **kwargs: Any) -> None:
        self.obj = None

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        """Only a raise is for those who hold the right in part."""
        return False

    def doing(self) -> str:
        return "set limits"

    def back_url(self) -> str:
        return reverse("admin:limits_limit_changelist")

    def initial(self) -> dict[str, Any]:
        given = super().initial()
        return given | ({"metric_": given["metric"]} if "metric" in given else {})

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        if asked is None:
            return Preview(consequences=["A limit counts new calls within half a second."])
        there = _standing(asked)
        metric = asked["metric_"]
        after = "none of its own" if asked["how"] == "none" else amount_words(metric, stored(metric, asked["amount"]))
        before = "none of its own" if there is None else amount_words(metric, there.amount)
        return Preview(
            changes=[Change(METRICS[metric], before, after)],
            consequences=["New calls are counted by it within half a second. Calls that run finish."],
            seen="" if there is None else _seen(there),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        there = _standing(asked)
        if asked["how"] == "none":
            if there is not None:
                services.delete(there.pk, actor=actor)
            return Done("There is no limit of its own.", self.back_url())
        limit, _ = services.put(
            scope=asked["scope"],
            id=asked["id"],
            team_id=asked["team_id"],
            metric=asked["metric_"],
            amount=stored(asked["metric_"], asked["amount"]),
            actor=actor,
        )
        return Done(_said(limit), url_of(limit))


def _standing(asked: dict[str, Any]) -> Limit | None:
    """The limit that is there already."""
    subject = asked["id"]
    if asked["scope"] == Scope.USER:
        subject = index.user_subject(asked["team_id"], asked["id"])
    return Limit.objects.filter(scope=asked["scope"], subject=subject, metric=asked["metric_"]).first()


def _seen(limit: Limit) -> str:
    return f"{limit.pk}:{limit.revision}"


def _said(limit: Limit) -> str:
    return f"{METRICS[limit.metric]} of {subject_words(limit)}: {amount_words(limit.metric, limit.amount)}."


class LimitAction(Action):
    """Something done to a limit that is there."""

    right = Right.LIMITS_WRITE
    obj: Limit

    def load(self, limit_id: str = "", **kwargs: Any) -> None:
        self.obj = services.find(limit_id)
        self.title = f"{self.verb}: {METRICS[self.obj.metric].lower()} of {subject_words(self.obj)}"

    def back_url(self) -> str:
        return reverse("admin:limits_limit_changelist")

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        """Only a raise is for those who hold the right in part."""
        return False

    def doing(self) -> str:
        return f"{self.verb.lower()}s"

    def still_binding(self) -> list[str]:
        """What is left on the way when this one goes."""
        team = self.obj.team
        if team is None:
            return ["Other limits on the way of its calls stay."]
        key_id = self.obj.subject if self.obj.scope == Scope.KEY else ""
        left = [
            f"{METRICS[each.metric].lower()} of {each.scope} {each.shown_id}: "
            + amount_words(each.metric, each.allowed)
            for each in index.current().applying(team, key_id=key_id, model="", user_id="")
            if each.metric == self.obj.metric and (each.scope, each.subject) != (self.obj.scope, self.obj.subject)
        ]
        return [f"Still in force: {', '.join(left)}." if left else "Nothing else limits this."]


class ChangeLimit(LimitAction):
    form_class = AmountForm
    verb = "Change limit"
    busy = "Changing…"
    is_live = True

    def form_kwargs(self) -> dict[str, Any]:
        return {"metric": self.obj.metric}

    def initial(self) -> dict[str, Any]:
        return {"amount": own_amount(self.obj.metric, self.obj.amount)} | super().initial()

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        before = amount_words(self.obj.metric, self.obj.amount)
        if asked is None:
            return Preview(consequences=[f"It allows {before}."], seen=_seen(self.obj))
        if asked["how"] == "none":
            changes = [Change(METRICS[self.obj.metric], before, "none of its own")]
            return Preview(changes=changes, consequences=self.still_binding(), seen=_seen(self.obj))
        after = amount_words(self.obj.metric, stored(self.obj.metric, asked["amount"]))
        return Preview(changes=[Change(METRICS[self.obj.metric], before, after)], seen=_seen(self.obj))

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        if asked["how"] == "none":
            services.delete(self.obj.pk, actor=actor)
            return Done("There is no limit of its own any more.", self.back_url())
        limit = services.change(self.obj.pk, amount=stored(self.obj.metric, asked["amount"]), actor=actor)
        return Done(_said(limit), url_of(limit))


class RaiseForm(ReasonForm):
    """Another amount, until an instant."""

    amount = _amount_field()
    until = forms.DateTimeField(
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="in your time zone; then its own amount again",
        error_messages={"required": "Say until when: a raise needs an end."},
    )
    field_order = ("amount", "until", "reason")

    def __init__(self, *args: Any, metric: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.metric = metric

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if "amount" not in self.errors:
            _require_amount(self, self.metric, given.get("amount"))
        return given


class RaiseLimit(LimitAction):
    """Allow more for a time. Who holds the right in part may do so for up to 7 days."""

    form_class = RaiseForm
    verb = "Raise limit"
    busy = "Raising…"
    is_live = True

    def form_kwargs(self) -> dict[str, Any]:
        return {"metric": self.obj.metric}

    def doing(self) -> str:
        return "raise this limit so far or so long"

    def initial(self) -> dict[str, Any]:
        tomorrow = timezone.localtime(clock.now() + timedelta(days=1)).replace(second=0, microsecond=0)
        doubled = own_amount(self.obj.metric, self.obj.amount * 2)
        return {"amount": doubled, "until": tomorrow} | super().initial()

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        if asked is None:
            return True
        amount = stored(self.obj.metric, asked["amount"])
        return services.is_short_raise(self.obj, amount=amount, until=asked["until"])

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        own = amount_words(self.obj.metric, self.obj.amount)
        if asked is None:
            return Preview(consequences=[f"It allows {own}."], seen=_seen(self.obj))
        amount = amount_words(self.obj.metric, stored(self.obj.metric, asked["amount"]))
        what = METRICS[self.obj.metric].lower()
        until = formats.clock(asked["until"])
        return Preview(
            changes=[Change(METRICS[self.obj.metric], self._now(), amount)],
            consequences=[f"Allow {amount} instead of {own} {what} until {until}, then {own} again."],
            seen=_seen(self.obj),
        )

    def _now(self) -> str:
        until: datetime | None = self.obj.raised_until
        is_raised = until is not None and until > clock.now() and self.obj.raised_to is not None
        return amount_words(self.obj.metric, (self.obj.raised_to or 0) if is_raised else self.obj.amount)

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        limit = services.raise_(
            self.obj.pk,
            amount=stored(self.obj.metric, asked["amount"]),
            until=asked["until"],
            reason=asked["reason"],
            actor=actor,
        )
        return Done(f"{subject_words(limit)} is raised until {formats.clock(asked['until'])}.", url_of(limit))


class RemoveLimit(LimitAction):
    form_class = ActionForm
    verb = "Remove limit"
    busy = "Removing…"
    is_dangerous: ClassVar[bool] = True

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        before = amount_words(self.obj.metric, self.obj.amount)
        changes = [Change(METRICS[self.obj.metric], before, "none of its own")]
        return Preview(changes=changes, consequences=self.still_binding(), seen=_seen(self.obj))

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        services.delete(self.obj.pk, actor=actor)
        return Done("The limit is removed.", self.back_url())
