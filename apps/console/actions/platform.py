"""What operators do to the platform itself: verify the ledger now, pause and resume admission."""

import threading
from typing import Any

from django.db import transaction
from django.urls import reverse

from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, ReasonForm, StaleState, TypedForm
from apps.core import admission_switch, audit, verification
from apps.core.actors import Actor
from apps.core.db import release_connection
from apps.organizations.rights import Right

THREAD = "verify-now"


class VerifyLedger(Action):
    """Begins at once in a thread of this process: it takes minutes where there are millions of entries."""

    right = Right.SYSTEM_RUN
    form_class = ActionForm
    title = "Verify the ledger now?"
    verb = "Verify"
    busy = "Starting…"

    def load(self, **kwargs: Any) -> None:
        self.obj = None

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return True

    def back_url(self) -> str:
        return reverse("admin:system")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(
            consequences=[
                "Every balance is derived again from the entries, as of one instant. Nothing is changed.",
                "It runs beside all else; its result appears under Ledger when it is done.",
            ]
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        audit.record("system.verify", actor=actor, kind="system", id="ledger")
        transaction.on_commit(lambda: threading.Thread(target=_verify, name=THREAD, daemon=True).start())
        return Done("The check of the ledger has begun. Its result appears here.", self.back_url())


class _Admission(Action):
    """The switch of all new jobs and calls."""

    right = Right.SYSTEM_RUN
    to_paused: bool

    def load(self, **kwargs: Any) -> None:
        self.obj = admission_switch.stored()

    def doing(self) -> str:
        return f"{self.verb.lower()} admission"

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        # Who holds the right in part may verify alone.
        return False

    def back_url(self) -> str:
        return reverse("admin:system")

    def require_possible(self) -> None:
        if self.obj.is_paused == self.to_paused:
            raise StaleState(f"Admission is {'paused' if self.obj.is_paused else 'open'} already.")

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        admission_switch.put(is_paused=self.to_paused, actor=actor, reason=asked["reason"])
        said = "Admission is paused." if self.to_paused else "New jobs and calls are admitted again."
        return Done(said, self.back_url())


class PauseAdmission(_Admission):
    form_class = TypedForm
    title = "Pause admission for everybody?"
    verb = "Pause"
    busy = "Pausing…"
    is_dangerous = True
    to_paused = True

    def form_kwargs(self) -> dict[str, Any]:
        return {"must_type": "pause"}

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(
            changes=[Change("Admission", "open", "paused")],
            consequences=[
                "Every new job and call of every customer gets 503 with Retry-After, within a second.",
                "Running and queued calls finish. Jobs can be completed, and are charged. Reading works.",
                "A banner tells every operator until somebody resumes.",
            ],
            seen=str(self.obj.version),
        )


class ResumeAdmission(_Admission):
    form_class = ReasonForm
    title = "Resume admission?"
    verb = "Resume"
    busy = "Resuming…"
    to_paused = False

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(
            changes=[Change("Admission", "paused", "open")],
            consequences=[f"It was paused by {self.obj.by.removeprefix('operator:')}: “{self.obj.reason}”."],
            seen=str(self.obj.version),
        )


def _verify() -> None:
    try:
        verification.verify_and_report()
    finally:
        release_connection()
