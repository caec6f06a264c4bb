"""A batch of vouchers, whose codes are shown once, and what is left of one revoked."""

from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from apps.console import formats
from apps.console import money_links as links
from apps.console.actions.base import Action, ActionForm, Change, Done, Preview, StaleState
from apps.console.actions.credits import end_of
from apps.console.amounts import CreditsField
from apps.console.pages.vouchers import state_of
from apps.core import idempotency
from apps.core.actors import Actor
from apps.core.errors import NotFound
from apps.core.ids import parse_uuid
from apps.core.spreadsheets import lines
from apps.credits import vouchers
from apps.credits.errors import VoucherNotFound
from apps.credits.models import Grant, Voucher
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.organizations.rights import Right

_DAY = forms.DateInput(attrs={"type": "date"})
MOST = 500


class BatchForm(ActionForm):
    count = forms.IntegerField(
        label="Vouchers", min_value=1, max_value=MOST, initial=10, help_text=f"how many codes, at most {MOST}"
    )
    credits = CreditsField(whole=True, label="Credits each")
    kind = forms.ChoiceField(choices=Grant.Kind.choices, initial=Grant.Kind.PROMOTIONAL)
    max_uses = forms.IntegerField(
        min_value=1, max_value=1_000_000, initial=1, label="Uses of a code", help_text="each team can use a code once"
    )
    organization = forms.CharField(
        required=False, max_length=255, help_text="organization id, whose teams alone can redeem; empty: any team"
    )
    last_day = forms.DateField(required=False, widget=_DAY, help_text="the last day on which a code can be redeemed")
    credits_last_days = forms.IntegerField(
        required=False, min_value=1, max_value=36_500, help_text="days that the credits last once redeemed"
    )
    note = forms.CharField(required=False, max_length=255, help_text="what the batch is for")

    def clean_organization(self) -> Organization | None:
        organization_id = self.cleaned_data["organization"]
        try:
            return organizations.find(organization_id) if organization_id else None
        except NotFound:
            raise forms.ValidationError(f"There is no organization {organization_id}.") from None

    def clean_last_day(self) -> Any:
        day = self.cleaned_data["last_day"]
        if day is not None and (day < timezone.localdate() or day.year > 9000):
            raise forms.ValidationError(f"The last day must be today or later. You typed {day}.")
        return day


class _OfVouchers(Action):
    right = Right.CREDITS_WRITE

    def is_within(self, asked: dict[str, Any] | None) -> bool:
        return False

    def doing(self) -> str:
        return "make or revoke vouchers"


class NewBatch(_OfVouchers):
    form_class = BatchForm
    title = "New batch of vouchers"
    verb = "Make vouchers"
    busy = "Making…"

    def load(self, **kwargs: Any) -> None:
        self.obj = None

    def back_url(self) -> str:
        return reverse("admin:credits_voucher_changelist")

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        batch, made = vouchers.create_batch(
            asked["count"],
            actor=actor,
            amount_micros=asked["credits"],
            kind=Grant.Kind(asked["kind"]),
            max_uses=asked["max_uses"],
            organization=asked["organization"],
            expires_at=end_of(asked["last_day"]),
            credits_last_days=asked["credits_last_days"],
            note=asked["note"],
        )
        each = formats.credits(asked["credits"])
        rows = [[code, each.replace(",", "")] for _, code in made]
        noun = "voucher" if len(made) == 1 else "vouchers"
        return Done(
            f"{len(made)} {noun} of {formats.credits_in_words(asked['credits'])} made.",
            f"{self.back_url()}?batch={batch}",
            secret=b"".join(lines(["code", "credits"], rows)).decode(),
            secret_label="The codes",  # noqa: S106
        )

    def show(self, request: HttpRequest, slot: idempotency.Slot, *, is_replay: bool) -> HttpResponse:
        """With the codes as a file to download: they are kept nowhere."""
        answer = super().show(request, slot, is_replay=is_replay)
        if isinstance(answer, TemplateResponse):
            answer.template_name = "console/actions/vouchers.html"
        return answer


class RevokeVoucher(_OfVouchers):
    form_class = ActionForm
    verb = "Revoke"
    busy = "Revoking…"
    is_dangerous = True
    obj: Voucher

    def load(self, voucher_id: str = "", **kwargs: Any) -> None:
        self.obj = vouchers.find(voucher_id)
        self.title = f"Revoke voucher {self.obj.hint}…?"

    def back_url(self) -> str:
        return links.voucher(self.obj.pk)

    def require_possible(self) -> None:
        if self.obj.disabled_at is not None:
            raise StaleState(f"Voucher {self.obj.hint}… is revoked already.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        left = self.obj.max_uses - self.obj.uses
        return Preview(
            [Change("State", state_of(self.obj), "revoked")],
            [f"{formats.count(left)} uses are left and will be refused. What was redeemed stays. For good."],
            f"{self.obj.uses}",
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        vouchers.disable(str(self.obj.pk), actor=actor)
        return Done(f"Voucher {self.obj.hint}… is revoked.", self.back_url())


class RevokeBatch(_OfVouchers):
    """What of a batch nobody has redeemed yet."""

    form_class = ActionForm
    title = "Revoke the rest of the batch?"
    verb = "Revoke"
    busy = "Revoking…"
    is_dangerous = True
    obj: UUID

    def load(self, batch: str = "", **kwargs: Any) -> None:
        parsed = parse_uuid(batch)
        self.rows = list(Voucher.objects.filter(batch=parsed).order_by("pk")) if parsed else []
        if parsed is None or not self.rows:
            raise VoucherNotFound(f"There is no batch '{batch[:100]}'")
        self.obj = parsed

    def left(self) -> list[Voucher]:
        return [each for each in self.rows if each.disabled_at is None and each.uses < each.max_uses]

    def back_url(self) -> str:
        return f"{reverse('admin:credits_voucher_changelist')}?batch={self.obj}"

    def require_possible(self) -> None:
        if not self.left():
            raise StaleState("Nothing is left of this batch: every code is used up or revoked.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        left = len(self.left())
        return Preview(
            [Change("Usable codes", formats.count(left), "0")],
            [f"{left} of {len(self.rows)} codes will be refused. What was redeemed stays. It cannot be undone."],
            str(left),
        )

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        count = vouchers.disable_batch(self.obj, actor=actor)
        return Done(f"{count} vouchers are revoked.", self.back_url())
