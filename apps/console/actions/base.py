"""Actions: GET shows a form with a preview and changes nothing, POST does what was previewed, once.

The preview is computed by the same rules, dry; the form carries a token of what was seen. Where that has changed by
the time of the POST, nothing happens and the new preview is shown. The form's random id makes a page sent twice act
once; its second answer is the first one's.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme

from apps.console.pages.base import Page
from apps.core import crypto, idempotency
from apps.core.actors import Actor
from apps.core.admin_base import actor_of, show_refusal
from apps.core.errors import Conflict, DomainError, IdempotencyConflict
from apps.core.ids import new_id
from apps.organizations import rights


@dataclass(frozen=True, slots=True)
class Change:
    """A line of a preview: what it is now and what it will be. Equal ones say what stays."""

    label: str
    before: str
    after: str

    @property
    def is_change(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action would do. `seen` is a token of the state it was computed from, e.g. an account's sequence."""

    changes: Sequence[Change] = ()
    consequences: Sequence[str] = ()
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What an action did: a sentence, where it can be seen, and a secret that is shown once."""

    message: str
    url: str
    secret: str = ""
    secret_label: str = ""
    # What else the result's page shows, of public ids alone.
    more: dict[str, str] = field(default_factory=dict)

    def as_ids(self) -> dict[str, str]:
        return {"message": self.message, "url": self.url, "secret_label": self.secret_label, **self.more}


class ActionForm(forms.Form):
    """What every action asks: nothing. The hidden fields name this very form and what was seen."""

    once = forms.UUIDField(widget=forms.HiddenInput, initial=new_id)
    seen = forms.CharField(widget=forms.HiddenInput, required=False, max_length=255, strip=False)

    def asked(self) -> dict[str, Any]:
        """What was typed."""
        return {name: value for name, value in self.cleaned_data.items() if name not in ("once", "seen")}

    def as_request(self, scope: str) -> idempotency.Request:
        text = json.dumps({name: str(value) for name, value in sorted(self.asked().items())})
        return idempotency.Request(scope, str(self.cleaned_data["once"]), crypto.fingerprint(text.encode()))


class ReasonForm(ActionForm):
    """Why it is done; kept in the audit log, shown wherever the effect is."""

    reason = forms.CharField(
        min_length=5,
        max_length=500,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="5 to 500 characters; others read it beside the effect",
        error_messages={"required": "Say why. Others read it beside the effect."},
    )


class TypedForm(ReasonForm):
    """For what is irreversible or wide: the object's id is typed."""

    def __init__(self, *args: Any, must_type: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.must_type = must_type
        self.fields["typed"] = forms.CharField(
            label=f"Type {must_type} to confirm", widget=forms.TextInput(attrs={"autocomplete": "off"})
        )

    def clean_typed(self) -> str:
        typed = str(self.cleaned_data["typed"])
        if typed != self.must_type:
            raise ValidationError(f"Type exactly {self.must_type}.")
        return typed

    def asked(self) -> dict[str, Any]:
        return {name: value for name, value in super().asked().items() if name != "typed"}


class StaleState(Conflict):
    """Raised when what an action is for has become so already, or can no longer become so."""


class Action(Page):
    """One thing that an operator does. Subclasses load the object, make the preview and run.

    `right` is asked for in part at first: `is_within` then says whether what is asked lies inside the limit of those
    who hold it in part.
    """

    template_name = "console/actions/form.html"
    form_class: ClassVar[type[ActionForm]] = ReasonForm
    verb: ClassVar[str]
    busy: ClassVar[str] = "Working…"
    is_dangerous: ClassVar[bool] = False
    # Whether the preview follows what is typed, so that it is asked for again on each change.
    is_live: ClassVar[bool] = False
    obj: Any

    def load(self, **kwargs: Any) -> None:
        """Find the object and set `self.obj`. Raises: NotFound."""
        raise NotImplementedError

    def require_possible(self) -> None:
        """Raises: StaleState when it is too late, e.g. for suspending what is suspended."""

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        """What would happen; `asked` is None while the form is not filled in well."""
        return Preview()

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        """Do it, inside a transaction. Raises: DomainError, shown on the form."""
        raise NotImplementedError

    def back_url(self) -> str:
        """Where Cancel leads."""
        raise NotImplementedError

    def scope(self) -> str:
        """Whose form ids these are: the action and its object."""
        return f"console:{self.operator.pk}:{type(self).__name__}:{self.back_url()}"[:300]

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        """Whether what is asked lies within the limit of who holds the right in part. Before it is known: yes."""
        return asked is None

    def require_right(self) -> None:
        self.require_right_to(None)

    def require_right_to(self, asked: dict[str, Any] | None) -> None:
        """Raises: RightMissing."""
        rights.require(self.operator.role, self.right, within=self.is_within(asked), doing=self.doing())

    def doing(self) -> str:
        """Completes "Your role cannot …"; empty: the right's own words."""
        return ""

    def initial(self) -> dict[str, Any]:
        """From the URL's query, so that a page that suggests an action fills in its form."""
        return {name: value for name, value in self.request.GET.items() if name not in ("once", "seen")}

    def form_kwargs(self) -> dict[str, Any]:
        return {}

    def make_form(self, data: Any = None) -> ActionForm:
        # Without a prefix for ids: labels and errors name them.
        return self.form_class(data, initial=self.initial() if data is None else None, **self.form_kwargs())

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        self.load(**kwargs)
        try:
            self.require_possible()
        except StaleState as error:
            return self.stale(request, error)
        form = self.make_form()
        return self.form_page(request, form, self.preview(self.prefilled(form)))

    def prefilled(self, form: ActionForm) -> dict[str, Any] | None:
        """What a link filled in, when that is everything."""
        if not self.request.GET:
            return None
        trial = self.form_class({**self.initial(), "once": str(new_id())}, **self.form_kwargs())
        return trial.asked() if trial.is_valid() else None

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        self.load(**kwargs)
        form = self.make_form(request.POST)
        if "preview" in request.POST:
            context = {"preview": self.preview(self.typed_so_far(form)), "form": form}
            return self.render(request, context, template="console/actions/preview.html")
        if not form.is_valid():
            return self.form_page(request, form, self.preview(self.typed_so_far(form)), status=422)
        asked = form.asked()
        self.require_right_to(asked)
        try:
            first = self.answer_of_the_first(form)
        except IdempotencyConflict:
            # By the browser's back button, and then something else typed.
            form.add_error(None, "This form was used before with something else typed. Open it again.")
            return self.form_page(request, form, self.preview(asked), status=422)
        if first is not None:
            return first
        try:
            self.require_possible()
        except StaleState as error:
            return self.stale(request, error)
        now = self.preview(asked)
        if now.seen != form.cleaned_data["seen"]:
            return self.changed_meanwhile(request, form, now)
        return self.act(request, form, asked, now)

    def typed_so_far(self, form: ActionForm) -> dict[str, Any] | None:
        """What a preview needs: all but the reason and what is typed to confirm, which come last."""
        return {"reason": "", **form.asked()} if set(form.errors) <= {"reason", "typed"} else None

    def act(self, request: HttpRequest, form: ActionForm, asked: dict[str, Any], now: Preview) -> HttpResponse:
        try:
            with transaction.atomic():
                slot = idempotency.claim(form.as_request(self.scope()))
                if slot.is_replay:
                    return self.show(request, slot, is_replay=True)
                done = self.run(asked, actor_of(request))
                slot.record(done.as_ids(), secret=done.secret)
        except StaleState as error:
            return self.stale(request, error)
        except DomainError as error:
            show_refusal(form, error)
            return self.form_page(request, form, now, status=422)
        return self.show(request, slot, is_replay=False)

    def answer_of_the_first(self, form: ActionForm) -> HttpResponse | None:
        """What this very form did before, if it did: asked for before the state is judged, which it changed."""
        request = form.as_request(self.scope())
        known = idempotency.find(request)
        if known is None:
            return None
        return self.show(self.request, known, is_replay=True)

    def show(self, request: HttpRequest, slot: idempotency.Slot, *, is_replay: bool) -> HttpResponse:
        """The result: its page with a sentence, or the page that shows a secret once."""
        ids = slot.result
        if ids.get("secret_label"):
            context = {"done": ids, "secret": slot.secret(), "is_replay": is_replay, "title": ids["message"]}
            return self.render(request, context, template="console/actions/secret.html")
        messages.success(request, ids["message"] + (" (It was done before; nothing twice.)" if is_replay else ""))
        response = HttpResponseRedirect(self.next_url() or ids["url"])
        response.status_code = 303
        return response

    def next_url(self) -> str:
        """Where the page that suggested this wants to be shown again (`?next=`), within this site."""
        url = self.request.GET.get("next", "")
        return url if url.startswith("/admin/") and url_has_allowed_host_and_scheme(url, allowed_hosts=None) else ""

    def changed_meanwhile(self, request: HttpRequest, form: ActionForm, now: Preview) -> HttpResponse:
        """Nothing is done: what would happen is not what was shown. The form carries what is shown now."""
        had_seen = bool(form.cleaned_data["seen"])
        changed = "What you saw has changed meanwhile. Nothing was done. Check again."
        notice = changed if had_seen else "Check and confirm."
        return self.form_page(request, form, now, status=409 if had_seen else 200, notice=notice)

    def stale(self, request: HttpRequest, error: StaleState) -> HttpResponse:
        context = {"message": error.message, "back_url": self.back_url()}
        return self.render(request, context, template="console/actions/stale.html", status=409)

    def form_page(
        self, request: HttpRequest, form: ActionForm, preview: Preview, *, status: int = 200, notice: str = ""
    ) -> HttpResponse:
        context = {
            "form": form,
            "preview": preview,
            "notice": notice,
            "verb": self.verb,
            "busy": self.busy,
            "is_dangerous": self.is_dangerous,
            "is_live": self.is_live,
            "back_url": self.back_url(),
        }
        return self.render(request, context, status=status)


__all__ = [
    "Action",
    "ActionForm",
    "Change",
    "Done",
    "Preview",
    "ReasonForm",
    "StaleState",
    "TypedForm",
]
