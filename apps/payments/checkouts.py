"""Checkouts: a row first, then the provider's page. Asked again after a crash in between, the same page comes."""

from django.db import transaction

from apps.core import audit
from apps.core.actors import Actor
from apps.core.db import release_connection
from apps.core.ids import parse_uuid
from apps.payments.errors import CheckoutNotFound, ProviderRejected
from apps.payments.interface import CheckoutRequest
from apps.payments.models import Checkout, CreditPack, SavedMethod, TopUpAttempt
from apps.payments.providers import provider
from apps.teams.models import Team


def create(
    team: Team,
    pack: CreditPack,
    *,
    success_url: str,
    cancel_url: str,
    actor: Actor,
    saves_method: bool = False,
    attempt: TopUpAttempt | None = None,
) -> Checkout:
    """A checkout of the pack at today's price, or of what an attempt was to charge. Nothing is asked of the provider.

    Raises: PaymentsNotConfigured.
    """
    sold = attempt or pack
    with transaction.atomic():
        made = Checkout.objects.create(
            team=team,
            organization_id=team.organization_id,
            pack=pack,
            attempt=attempt,
            credits=sold.credits,
            amount_minor=sold.amount_minor,
            currency=sold.currency,
            saves_method=saves_method,
            success_url=success_url,
            cancel_url=cancel_url,
            provider=provider().name,
            created_by=str(actor)[:255],
        )
        audit.record(
            "checkout.create",
            actor=actor,
            kind="checkout",
            id=str(made.pk),
            after={
                "team_id": team.team_id,
                "pack": str(pack.pk),
                "credits": made.credits,
                "amount_minor": made.amount_minor,
                "currency": made.currency,
                "saves_method": saves_method,
            },
        )
    return made


def find(team: Team, checkout_id: str) -> Checkout:
    """Raises: CheckoutNotFound."""
    parsed = parse_uuid(checkout_id)
    found = Checkout.objects.for_team(team).filter(pk=parsed).first() if parsed else None
    if found is None:
        raise CheckoutNotFound(f"Team '{team.team_id}' has no checkout '{checkout_id}'")
    return found


def with_page(checkout: Checkout) -> Checkout:
    """The checkout with its page, which is made when there is none. Outside of transactions.

    Raises: ProviderUnavailable (ask again), ProviderRejected (the checkout has failed), PaymentsNotConfigured.
    """
    if checkout.url or checkout.state != Checkout.State.OPEN:
        return checkout
    saved = SavedMethod.objects.filter(team_id=checkout.team_id).first()
    request = CheckoutRequest(
        key=f"checkout:{checkout.pk}",
        checkout=str(checkout.pk),
        attempt=str(checkout.attempt_id or ""),
        description=checkout.pack.name,
        amount_minor=checkout.amount_minor,
        currency=checkout.currency,
        success_url=checkout.success_url,
        cancel_url=checkout.cancel_url,
        saves_method=checkout.saves_method,
        customer_id=saved.customer_id if saved else "",
    )
    release_connection()
    unpaged = Checkout.objects.filter(pk=checkout.pk, provider_session_id__isnull=True)
    try:
        made = provider().create_checkout(request)
    except ProviderRejected:
        unpaged.filter(state=Checkout.State.OPEN).update(state=Checkout.State.FAILED)
        raise
    unpaged.update(provider_session_id=made.session_id, url=made.url)
    return Checkout.objects.get(pk=checkout.pk)
