"""Rate cards: a card is made with its first draft; a draft is changed, rebased, activated or discarded."""

from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from apps.console import formats
from apps.console.actions import card_form
from apps.console.actions.base import Action, ActionForm, Done, Preview, ReasonForm, StaleState
from apps.console.actions.card_form import NewCardForm, TermsForm
from apps.core.actors import Actor
from apps.credits import card_terms, cards, pricing
from apps.credits.card_words import preview as examples
from apps.credits.models import RateCard, RateCardVersion
from apps.organizations.rights import Right

_REPLAY_SALT = "console.replay"
_REPLAY_AGE_S = 86_400


@dataclass(frozen=True, slots=True)
class Replayed:
    """That a draft was replayed, and what was found; carried in the URL, signed, for a day."""

    draft: str
    current: int
    moves_far: bool
    words: str

    def token(self) -> str:
        told = {"draft": self.draft, "current": self.current, "moves_far": self.moves_far, "words": self.words}
        return signing.dumps(told, salt=_REPLAY_SALT, compress=True)

    @classmethod
    def of_token(cls, token: str) -> "Replayed | None":
        """None for a token that is forged or older than a day."""
        try:
            return cls(**signing.loads(token, salt=_REPLAY_SALT, max_age=_REPLAY_AGE_S))
        except (signing.BadSignature, TypeError):
            return None


class NewCard(Action):
    """A card of a team, an organization or the platform, with its first draft."""

    right = Right.CARDS_WRITE
    form_class = NewCardForm
    verb = "Make card with its draft"
    title = "New rate card"
    is_live = True

    def load(self, **kwargs: Any) -> None:
        self.obj = None

    def back_url(self) -> str:
        return reverse("admin:credits_ratecard_changelist")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        lines = ["The draft prices nothing until it is activated."]
        if asked is not None:
            lines += _examples(RateCardVersion(**card_form.columns_of(asked)))
        return Preview(consequences=lines)

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        card = cards.create(
            actor=actor,
            team=asked["team_id"],
            organization=asked["organization_id"],
            job_type=asked["job_type"],
            terms=card_form.columns_of(asked),
        )
        return Done(f"A card for {card} was made. Its draft prices nothing until it is activated.", url_of(card))


class CardAction(Action):
    """Something done to a card's draft."""

    right = Right.CARDS_WRITE
    obj: RateCard

    def load(self, card_id: str = "", **kwargs: Any) -> None:
        self.obj = cards.find(card_id)
        self.draft = cards.draft_of(self.obj)
        self.current = cards.in_force(self.obj)
        self.base = cards.base_of(self.obj, self.draft) if self.draft else self.current

    def back_url(self) -> str:
        return url_of(self.obj)

    def seen(self) -> str:
        """The draft as it is, and the version in force."""
        return f"{card_form.fingerprint(self.draft)}:{self.current.number if self.current else 0}"

    def the_draft(self) -> RateCardVersion:
        """Raises: StaleState."""
        if self.draft is None:
            number = f" Version {self.current.number} is in force." if self.current else ""
            raise StaleState(f"The card has no draft: it was activated or discarded.{number}")
        return self.draft

    def require_possible(self) -> None:
        self.the_draft()


class EditDraft(CardAction):
    """Write a draft, beginning with the terms in force, or change the one there is."""

    form_class = TermsForm
    verb = "Save draft"
    busy = "Saving…"
    is_live = True

    def load(self, card_id: str = "", **kwargs: Any) -> None:
        super().load(card_id)
        self.title = f"Draft for {self.obj}"

    def require_possible(self) -> None:
        """Without a draft this begins one."""

    def initial(self) -> dict[str, Any]:
        return card_form.given_of(self.draft or self.current) | super().initial()

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        begun = self.draft or self.current
        columns = card_form.columns_of(asked) if asked else card_terms.columns_of(begun) if begun else None
        lines = [] if columns is None else _examples(RateCardVersion(**columns))
        differs = [] if columns is None else card_form.changes(self.current, columns)
        if columns is not None and not differs:
            lines.insert(0, "As in force: nothing is changed yet.")
        return Preview(changes=differs, consequences=lines, seen=self.seen())

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        columns = card_form.columns_of(asked)
        if self.draft is None:
            cards.add_draft(self.obj, columns, actor=actor)
        else:
            cards.change_draft(self.obj, self.draft.number, columns, actor=actor)
        return Done("The draft is written. It prices nothing until it is activated.", _tab(self.obj, "draft"))

    def changed_meanwhile(self, request: HttpRequest, form: ActionForm, now: Preview) -> HttpResponse:
        """Where another version came into force: what was typed, laid over it, and all three in words."""
        started = form.cleaned_data["seen"].rpartition(":")[2]
        if not started.isdecimal() or self.current is None or int(started[:9]) in (0, self.current.number):
            return super().changed_meanwhile(request, form, now)
        base = cards.find_version(self.obj, started)
        found, lines = card_form.merged(base, card_form.columns_of(form.asked()), self.current)
        data = request.POST.copy()
        for name, value in card_terms.as_wire(RateCardVersion(**found)).items():
            data[name] = "" if value is None else str(value)
        again = self.make_form(data)
        shown = self.preview(again.asked() if again.is_valid() else None)
        notice = f"{card_form.came_into_force(base, self.current)} Nothing was saved. Check again."
        preview = Preview(shown.changes, [*lines, *shown.consequences], shown.seen)
        return self.form_page(request, again, preview, status=409, notice=notice)


class RebaseDraft(CardAction):
    """Lay what a draft changed over the version that came into force meanwhile."""

    form_class = ActionForm
    verb = "Rebase draft"
    busy = "Rebasing…"

    def load(self, card_id: str = "", **kwargs: Any) -> None:
        super().load(card_id)
        self.title = f"Rebase the draft for {self.obj}"

    def require_possible(self) -> None:
        self.the_draft()
        if not card_form.came_into_force(self.base, self.current):
            raise StaleState("The draft starts from the version in force already.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        draft = self.the_draft()
        found, lines = card_form.merged(self.base, card_terms.columns_of(draft), self.current)
        return Preview(
            changes=card_form.changes(draft, found),
            consequences=[card_form.came_into_force(self.base, self.current), *lines],
            seen=self.seen(),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        draft = self.the_draft()
        found, _ = card_form.merged(self.base, card_terms.columns_of(draft), self.current)
        made = cards.rebase_draft(self.obj, draft.number, found, actor=actor)
        return Done(f"The draft starts from what is in force; it is version {made.number}.", _tab(self.obj, "draft"))


class ActivateForm(ReasonForm):
    """From when on, and what makes sure that it is meant."""

    effective_from = forms.DateTimeField(
        label="In force from",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="in your time zone; empty: at once",
    )
    field_order = ("effective_from",)

    def __init__(self, *args: Any, must_type: str, is_replayed: bool, moves_far: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.must_type = must_type
        if not is_replayed:
            self.fields["without_replay"] = forms.BooleanField(
                label="Activate without a replay",
                error_messages={"required": "Replay the draft first, or tick this."},
            )
        if not is_replayed or moves_far:
            self.fields["typed"] = forms.CharField(
                label=f"Type {must_type} to confirm", widget=forms.TextInput(attrs={"autocomplete": "off"})
            )

    def clean_typed(self) -> str:
        if self.cleaned_data["typed"] != self.must_type:
            raise ValidationError(f"Type exactly {self.must_type}.")
        return self.must_type


class ActivateDraft(CardAction):
    """Have the draft price jobs, now or from an instant on. After that it never changes."""

    form_class = ActivateForm
    verb = "Activate"
    busy = "Activating…"
    is_dangerous: ClassVar[bool] = True

    def load(self, card_id: str = "", **kwargs: Any) -> None:
        super().load(card_id)
        number = f"version {self.draft.number}" if self.draft else "the draft"
        self.title = f"Activate {number} for {self.obj}?"
        found = Replayed.of_token(self.request.GET.get("replay", ""))
        is_of_this = found is not None and f"{found.draft}:{found.current}" == self.seen()
        self.replayed = found if is_of_this else None

    def initial(self) -> dict[str, Any]:
        return {}

    def form_kwargs(self) -> dict[str, Any]:
        return {
            "must_type": card_form.name_of(self.obj),
            "is_replayed": self.replayed is not None,
            "moves_far": self.replayed is not None and self.replayed.moves_far,
        }

    def require_possible(self) -> None:
        self.the_draft()
        newer = card_form.came_into_force(self.base, self.current)
        if newer:
            raise StaleState(f"{newer} Rebase the draft, then activate it.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        draft = self.the_draft()
        told = self.replayed.words if self.replayed else "This draft was not replayed in the last 24 hours."
        return Preview(
            changes=card_form.changes(self.current, card_terms.columns_of(draft)),
            consequences=[
                told,
                *_examples(draft),
                "Jobs that run keep their price. An activated version never changes: a new one replaces it.",
            ],
            seen=self.seen(),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        version = cards.activate(
            self.obj,
            self.the_draft().number,
            actor=actor,
            effective_from=asked["effective_from"],
            reason=asked["reason"],
        )
        when = formats.instant_in_full(version.effective_from)
        return Done(f"Version {version.number} prices jobs that begin from {when} on.", url_of(self.obj))


class DiscardDraft(CardAction):
    """Forget the draft."""

    form_class = ActionForm
    verb = "Discard draft"
    busy = "Discarding…"
    is_dangerous: ClassVar[bool] = True

    def load(self, card_id: str = "", **kwargs: Any) -> None:
        super().load(card_id)
        self.title = f"Discard the draft for {self.obj}?"

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        draft = self.the_draft()
        lost = card_form.changes(self.current, card_terms.columns_of(draft))
        lines = [f"Version {draft.number} prices nothing and is deleted. What is in force stays."]
        lines += [f"{each.label}: {each.after} is forgotten, {each.before} stays." for each in lost]
        return Preview(consequences=lines, seen=self.seen())

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        cards.discard_draft(self.obj, self.the_draft().number, actor=actor)
        return Done("The draft was discarded.", url_of(self.obj))


def url_of(card: RateCard) -> str:
    return reverse("admin:card", kwargs={"card_id": card.pk})


def _tab(card: RateCard, tab: str) -> str:
    return reverse("admin:card_tab", kwargs={"card_id": card.pk, "tab": tab})


def _examples(version: RateCardVersion) -> list[str]:
    """What two jobs would cost, in words."""
    return [f"{label[0].upper()}{label[1:]}: {costs}." for label, costs in examples(pricing.terms_of(version))[1:3]]
