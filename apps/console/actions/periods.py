"""Closing a month's books."""

from typing import Any

from django.http import Http404
from django.urls import reverse

from apps.console import formats
from apps.console.actions.base import Action, Change, Done, Preview, StaleState, TypedForm
from apps.core.actors import Actor
from apps.core.errors import InvalidField
from apps.credits import periods
from apps.credits.models import Period
from apps.organizations.rights import Right


class ClosePeriod(Action):
    right = Right.CREDITS_WRITE
    form_class = TypedForm
    verb = "Close"
    busy = "Closing…"
    is_dangerous = True
    obj: str

    def load(self, period: str = "", **kwargs: Any) -> None:
        try:
            _, self.ends_at = periods.bounds(period)
        except InvalidField as error:
            raise Http404(error.message) from None
        self.obj = period
        self.title = f"Close the books of {period}?"

    def doing(self) -> str:
        return "close months"

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return False

    def form_kwargs(self) -> dict[str, Any]:
        return {"must_type": self.obj}

    def back_url(self) -> str:
        return f"{reverse('admin:statements')}?month={self.obj}"

    def require_possible(self) -> None:
        closed = Period.objects.filter(pk=self.obj).first()
        if closed is not None:
            raise StaleState(f"{self.obj} was closed by {closed.closed_by} {formats.ago(closed.closed_at)}.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(
            [Change("Books", "open", "closed")],
            [
                f"It ended {formats.clock(self.ends_at)}. Every account's balance at its end is recorded, its entries"
                " are sealed, and its statements never change again. It cannot be opened.",
            ],
            "open",
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        periods.close(self.obj, actor=actor)
        return Done(f"{self.obj} is closed.", self.back_url())
