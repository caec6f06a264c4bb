"""What operators do to the platform itself: verify the ledger now."""

import threading
from typing import Any

from django.db import transaction
from django.urls import reverse

from apps.console.actions.base import Action, ActionForm, Done, Preview
from apps.core import audit, verification
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


def _verify() -> None:
    try:
        verification.verify_and_report()
    finally:
        release_connection()
