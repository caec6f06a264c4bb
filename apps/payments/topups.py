"""Automatic top-ups: by consent, below a monthly ceiling, one attempt at a time.

An attempt is committed here; `charging` asks the provider for it, and the webhook alone brings the credits.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Sum

from apps.core import clock
from apps.core.actors import Actor
from apps.core.db import is_postgresql
from apps.core.errors import InvalidField
from apps.credits.models import Account
from apps.organizations.models import Organization
from apps.payments import attempts
from apps.payments.errors import PaymentMethodMissing
from apps.payments.models import CreditPack, SavedMethod, TopUp, TopUpAttempt
from apps.payments.providers import is_configured, provider
from apps.teams.models import Team

State = TopUpAttempt.State
_BATCH = 20


def find(team: Team) -> TopUp | None:
    return TopUp.objects.select_related("pack").filter(team=team).first()


def configure(
    team: Team,
    *,
    threshold_micros: int,
    pack: CreditPack,
    monthly_ceiling_minor: int,
    return_url: str,
    actor: Actor,
) -> TopUp:
    """Record a team's consent to top-ups of this pack at its present price; it replaces the one before.

    Raises: PaymentsNotConfigured, PaymentMethodMissing, InvalidField for a ceiling below one pack.
    """
    provider()
    if not SavedMethod.objects.filter(team=team).exists():
        raise PaymentMethodMissing
    if monthly_ceiling_minor < pack.amount_minor:
        raise InvalidField(
            "monthly_ceiling", f"Must be at least the pack's price, {pack.amount_minor}.", value=monthly_ceiling_minor
        )
    with transaction.atomic():
        before = attempts.lock(team)
        TopUp.objects.update_or_create(
            team=team,
            defaults={
                "is_enabled": True,
                "threshold_micros": threshold_micros,
                "pack": pack,
                "credits": pack.credits,
                "amount_minor": pack.amount_minor,
                "currency": pack.currency,
                "monthly_ceiling_minor": monthly_ceiling_minor,
                "return_url": return_url,
                "consented_by": str(actor)[:255],
                "consented_at": clock.db_now(),
                "declines": 0,
                "next_attempt_at": None,
                "disabled_reason": "",
            },
        )
        after = TopUp.objects.select_related("pack").get(team=team)
        attempts.record(team, before, after, actor)
    return after


def switch_off(team: Team, *, actor: Actor) -> TopUp | None:
    """Withdraw the consent; an attempt that is open stays what it is. Repeatable."""
    with transaction.atomic():
        before = attempts.lock(team)
        if before is not None and before.is_enabled:
            TopUp.objects.filter(team=team).update(is_enabled=False, disabled_reason="")
            attempts.record(team, before, TopUp.objects.get(team=team), actor)
    return find(team)


def open_due() -> int:
    """Write an attempt for each team that needs one. Returns how many. Safe beside itself, asks no provider."""
    if not is_configured():
        return 0
    return sum(_open(team_id) for team_id in list(_due().values_list("pk", flat=True)[:_BATCH]))


def _due() -> QuerySet[TopUp]:
    wallets = Account.objects.filter(team=OuterRef("pk"), kind=Account.Kind.WALLET, restriction="")
    spendable = wallets.values(amount=F("posted_micros") - F("held_micros"))[:1]
    is_open = TopUpAttempt.objects.filter(team=OuterRef("pk"), state__in=TopUpAttempt.OPEN)
    return (
        TopUp.objects.filter(
            ~Exists(is_open),
            Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=clock.from_now(0)),
            is_enabled=True,
            team__status=Team.Status.ACTIVE,
            team__organization__status=Organization.Status.ACTIVE,
        )
        .annotate(spendable_micros=Subquery(spendable))
        .filter(spendable_micros__lt=F("threshold_micros"))
    )


def _open(team_id: int) -> int:
    """Write the attempt of one team, judged anew under its lock."""
    with transaction.atomic():
        found = (
            TopUp.objects.select_for_update(skip_locked=is_postgresql(), of=("self",))
            .select_related("team__organization", "pack")
            .filter(pk=team_id)
            .first()
        )
        if found is None or not _due().filter(pk=team_id).exists():
            return 0
        pack = found.pack
        if not pack.is_active or (pack.credits, pack.amount_minor, pack.currency) != (
            found.credits,
            found.amount_minor,
            found.currency,
        ):
            # Nobody consented to this price.
            attempts.disable(found, "pack_changed")
            return 0
        now = clock.db_now()
        if spent_in_month(found, now) + found.amount_minor > found.monthly_ceiling_minor:
            found.next_attempt_at = _next_month(now)
            found.save(update_fields=["next_attempt_at", "updated_at"])
            attempts.emit("top_up.ceiling_reached", found.team, ceiling_minor=found.monthly_ceiling_minor)
            return 0
        TopUpAttempt.objects.create(
            team=found.team,
            organization_id=found.team.organization_id,
            credits=found.credits,
            amount_minor=found.amount_minor,
            currency=found.currency,
        )
        return 1


def spent_in_month(top_up: TopUp, now: datetime) -> int:
    """What the attempts of the month came to or may yet come to, in minor units. Months are those of UTC."""
    since = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    counted = TopUpAttempt.objects.for_team(top_up.team).filter(
        Q(state__in=(*TopUpAttempt.OPEN, State.SUCCEEDED)) | Q(error_code=attempts.OUTCOME_UNKNOWN),
        created_at__gte=since,
        currency=top_up.currency,
    )
    return counted.aggregate(total=Sum("amount_minor"))["total"] or 0


def _next_month(now: datetime) -> datetime:
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)
