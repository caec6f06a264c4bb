"""Prices from LiteLLM's map: a file is read, its differences are shown, and what is ticked counts once confirmed.

Between the two pages the differences travel in the form, signed: nothing is kept on the server.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from apps.catalog import price_map, prices
from apps.catalog.price_map import Change, Diff, Entry, PriceMap
from apps.catalog.rates import Rates
from apps.console import formats
from apps.console.actions.base import Action, ActionForm, Done, Preview, ReasonForm
from apps.console.actions.prices import DAYS, cost_words, rate_changes, words
from apps.core import clock
from apps.core.actors import Actor
from apps.core.errors import DomainError
from apps.jobs import repricing
from apps.organizations.rights import Right

_SALT = "console.price_map"
_AGE_S = 3600
FILE_MAX_BYTES = 8_000_000
_MISSING_SHOWN = 20


class UploadForm(forms.Form):
    """LiteLLM's file, and from when on its prices count."""

    file = forms.FileField(
        label="Price map", help_text="LiteLLM's model_prices_and_context_window.json", widget=forms.FileInput()
    )
    valid_from = forms.DateTimeField(
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="in your time zone; empty: from the confirmation on",
    )

    def clean_valid_from(self) -> datetime | None:
        instant: datetime | None = self.cleaned_data["valid_from"]
        if instant is not None and instant <= clock.now():
            raise ValidationError("Must not lie in the past: calls were priced by what was in force.")
        return instant


@dataclass(frozen=True, slots=True)
class Read:
    """What a file says of the models in use."""

    source: str
    valid_from: datetime | None
    entries: PriceMap

    def diff(self) -> Diff:
        return price_map.compare(self.entries, sorted(self.entries.entries), valid_from=self.valid_from)

    def signed(self) -> str:
        models = {
            name: [each.provider, each.has_tiers, each.rates.given()] for name, each in self.entries.entries.items()
        }
        told = {"source": self.source, "from": clock.iso(self.valid_from), "models": models}
        return signing.dumps(told, salt=_SALT, compress=True)

    @classmethod
    def of_signed(cls, text: str) -> "Read | None":
        """None for what is not ours or older than an hour."""
        try:
            told = signing.loads(text, salt=_SALT, max_age=_AGE_S)
        except signing.BadSignature:
            return None
        entries = {
            name: Entry(name, provider, Rates(**rates), tiers)
            for name, (provider, tiers, rates) in told["models"].items()
        }
        valid_from = datetime.fromisoformat(told["from"]) if told["from"] else None
        return cls(told["source"], valid_from, PriceMap(entries))


class ConfirmForm(ReasonForm):
    """Which of the differences count."""

    map = forms.CharField(widget=forms.HiddenInput, strip=False)
    models = forms.MultipleChoiceField(
        label="Prices to make",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Tick at least one price, or cancel."},
    )
    field_order = ("models", "reason")

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["models"].choices = choices  # type: ignore[attr-defined]


class ImportPrices(Action):
    """Upload, look, confirm."""

    right = Right.PRICES_WRITE
    form_class = ConfirmForm
    verb = "Make these prices"
    busy = "Writing…"
    title = "Import prices"
    read: Read | None = None
    diff: Diff
    repriced: dict[str, repricing.Repriced]
    missing: dict[str, str]

    def load(self, **kwargs: Any) -> None:
        self.obj = None
        self.missing = {}

    def back_url(self) -> str:
        return reverse("admin:catalog_price_changelist")

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        return self.upload_page(request, UploadForm())

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        if "map" not in request.POST:
            return self.look(request)
        self.load()
        read = Read.of_signed(request.POST["map"])
        if read is None:
            form = UploadForm({})
            form.add_error("file", "What was shown is older than an hour. Choose the file again.")
            return self.upload_page(request, form, status=422)
        self._take(read)
        return super().post(request, **kwargs)

    def look(self, request: HttpRequest) -> HttpResponse:
        """The differences of an uploaded file. Writes nothing."""
        self.load()
        self.require_right_to(None)
        form = UploadForm(request.POST, request.FILES)
        if not form.is_valid():
            return self.upload_page(request, form, status=422)
        file = form.cleaned_data["file"]
        try:
            if file.size > FILE_MAX_BYTES:
                raise ValidationError(f"At most {formats.count(FILE_MAX_BYTES)} bytes.")
            found = price_map.read(file.read().decode("utf-8"))
        except (ValidationError, UnicodeDecodeError, DomainError) as error:
            said = error.message if isinstance(error, DomainError) else "The file is no UTF-8 text of that size."
            form.add_error("file", said)
            return self.upload_page(request, form, status=422)
        used = {name: found.find(name) for name in prices.used_models()}
        entries = {name.lower(): entry for name, entry in used.items() if entry is not None}
        self.missing = {name: found.why_not(name) for name, entry in used.items() if entry is None}
        read = Read(file.name[:200], form.cleaned_data["valid_from"], PriceMap(entries))
        diff = read.diff()
        if not diff.changes:
            said = f"Nothing to change: {diff.unchanged} prices are as in the map, {len(self.missing)} left out."
            return self.upload_page(request, UploadForm(), notice=said)
        # What is as in the map already need not travel.
        changed = {change.model: change.entry for change in diff.changes}
        self._take(Read(read.source, read.valid_from, PriceMap(changed)))
        return self.form_page(request, self.first_form(), self.preview(None))

    def _take(self, read: Read) -> None:
        self.read, self.diff = read, read.diff()
        self.repriced = repricing.last_days({each.model: each.rates for each in self.diff.changes}, days=DAYS)

    def first_form(self) -> ActionForm:
        assert self.read is not None
        ticked = [change.model for change in self.diff.changes if not change.suspicion]
        return self.form_class(initial={"map": self.read.signed(), "models": ticked}, **self.form_kwargs())

    def form_kwargs(self) -> dict[str, Any]:
        assert self.read is not None
        differ = {change.model: self._words(change) for change in self.diff.changes}
        # Once made, a price is as in the map: the form that made it is still understood.
        models = sorted(self.read.entries.entries)
        return {"choices": [(model, differ.get(model, f"{model}: as in the map by now")) for model in models]}

    def _words(self, change: Change) -> str:
        """A difference in a line."""
        before = change.before.rates if change.before else None
        parts = [f"{each.label.lower()} {each.before} → {each.after}" for each in rate_changes(before, change.rates)]
        if before is None:
            parts = [f"{words(name).lower()} {formats.usd(rate)}" for name, rate in change.rates.given().items()]
        notes = [f"LOOK: {change.suspicion}"] if change.suspicion else []
        notes += ["long inputs cost more, which is not priced here"] if change.entry.has_tiers else []
        if change.model in self.repriced:
            notes.append(cost_words(self.repriced[change.model]))
        kind = "new" if before is None else "changed"
        return f"{change.model} ({kind}): {', '.join(parts)}" + (f" · {'; '.join(notes)}" if notes else "")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        assert self.read is not None
        new = sum(change.before is None for change in self.diff.changes)
        odd = sum(bool(change.suspicion) for change in self.diff.changes)
        from_when = formats.instant_in_full(self.read.valid_from) if self.read.valid_from else "the confirmation"
        lines = [
            f"{new} new, {len(self.diff.changes) - new} changed; {odd} look odd and are not ticked."
            " Nothing counts before it is confirmed.",
            f"They count from {from_when} on. USD per million tokens.",
        ]
        lines += [f"Left out {name}: {why}." for name, why in list(self.missing.items())[:_MISSING_SHOWN]]
        return Preview(consequences=lines, seen=self._seen())

    def _seen(self) -> str:
        """What each price would replace."""
        there = [f"{change.model}:{change.before.pk if change.before else ''}" for change in self.diff.changes]
        return hashlib.sha256("\n".join(there).encode()).hexdigest()[:32]

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        assert self.read is not None
        chosen = Diff([change for change in self.diff.changes if change.model in asked["models"]])
        made = price_map.apply(
            chosen,
            actor=actor,
            source=self.read.source,
            valid_from=self.read.valid_from,
            reason=asked["reason"],
        )
        return Done(f"{made} prices were made from {self.read.source}.", self.back_url())

    def upload_page(
        self, request: HttpRequest, form: UploadForm, *, status: int = 200, notice: str = ""
    ) -> HttpResponse:
        context = {"form": form, "back_url": self.back_url(), "notice": notice}
        return self.render(request, context, template="console/pages/price_upload.html", status=status)
