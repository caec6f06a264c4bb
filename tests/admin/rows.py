"""Fills every table that the admin site shows, through the product's own functions."""

import itertools
from datetime import timedelta
from decimal import Decimal

from django.contrib.auth.models import Group
from django.utils import timezone

from apps.analytics.models import Watermark
from apps.analytics.rollups import statements
from apps.analytics.rollups.spans import QUARTER, quarter_of
from apps.catalog import credentials, prices
from apps.catalog.rates import Rates
from apps.core import audit, idempotency
from apps.core.models import Process, Setting
from apps.credits import allowances, billing, ledger, sealing, vouchers
from apps.credits.errors import InsufficientCredits
from apps.credits.models import Account, BillingSettings, Entry, Grant, Period, PeriodBalance
from apps.jobs import execution, services
from apps.limits import decisions
from apps.limits import services as limits
from apps.organizations.models import Membership, User
from apps.payments import attempts, currencies, packs, webhooks
from apps.payments.interface import Kind, PaymentEvent
from apps.payments.models import Checkout, SavedMethod, TopUp, TopUpAttempt
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from tests import make

SECRET_PROMPT = "the prompt that nobody may read"
PROVIDER_KEY = "sk-of-a-provider-that-nobody-may-read"
_numbers = itertools.count(1)


def fill(count: int) -> list[make.Customer]:
    """`count` more rows in every table, each with tenants of its own."""
    make.platform_model()
    return [_customer(next(_numbers)) for _ in range(count)]


def _customer(number: int) -> make.Customer:
    org = make.organization(f"filled-org-{number}")
    model = make.alias(f"model-{number}", input_usd_per_mtok=1, output_usd_per_mtok=2)
    prices.add(f"provider/raw-{number}", Rates(10**9, 2 * 10**9), actor=make.TESTER, source="a list")
    make.access_group(f"bundle-{number}", model.name)
    make.model_group(f"agent-{number}", model.name, f"provider/raw-{number}")
    customer = make.customer(
        org=org,
        team_id=f"filled-team-{number}",
        credits=10,
        access_groups=[f"bundle-{number}"],
        model_groups=[model.name, f"agent-{number}"],
        default_model=f"agent-{number}" if number % 2 else model.name,
    )
    team = customer.team
    virtual_keys.issue(team, actor=make.TESTER, name=f"key {number}", expires_at=timezone.now() + timedelta(days=1))
    billing.change_plan(team, actor=make.TESTER, credits_per_dollar=Decimal("12.5"))
    ledger.grant(team, amount_micros=1_500_000, actor=make.TESTER, key="promo", kind=Grant.Kind.PROMOTIONAL)
    BillingSettings.objects.create(team=team, show_costs=False)
    Account.objects.create(kind=Account.Kind.POOL, organization=org)
    user = User.objects.create_user(f"member{number}@example.com", None)
    Membership.objects.create(organization=org, user=user)
    make.operator("support", email=f"operator{number}@example.com")
    Group.objects.create(name=f"group {number}")
    Process.objects.create(name=f"web-{number}", kind="web")
    Setting.objects.create(name=f"of-an-older-release-{number}", value=number)
    credentials.create(
        organization=org, provider="openai", name=f"key {number}", api_key=PROVIDER_KEY, actor=make.TESTER
    )
    for scope, id in (("team", team.team_id), ("organization", org.organization_id)):
        limits.put(scope=scope, id=id, metric="spend_per_day", amount=10_000_000, actor=make.TESTER)
    decisions.record(
        customer.principal,
        InsufficientCredits("no"),
        decisions.Refused(model=model.name),
        limits=[{"limit": "credits"}],
    )
    audit.emit("call.refused", subject=f"job:{number}", team_id=team.team_id, code="insufficient_credits")
    idempotency.claim(idempotency.Request(f"team:{team.team_id}", f"key-{number}", "f" * 64))
    _work(customer)
    _offer(team)
    _sell(team, number)
    _close_books(team, number)
    _roll_up(number)
    return customer


def _work(customer: make.Customer) -> None:
    """A completed and partly refunded job, and an open one with a queued call."""
    done, _ = services.open_job(customer.principal, services.NewJob("query"))
    execution.run_call(str(ask(customer, done.pk)))
    services.complete_job(customer.team, job_id=str(done.pk), verdict="completed", closed_by="test")
    charge = Entry.objects.get(job=str(done.pk), kind=Entry.Kind.CHARGE)
    ledger.reverse(charge, amount_micros=400_000, actor=make.TESTER, key="1", reason="sorry")
    is_open, _ = services.open_job(customer.principal, services.NewJob("query"))
    ask(customer, is_open.pk)


def _offer(team: Team) -> None:
    allowances.configure(team, enabled=True, amount_micros=5_000_000, period="monthly", actor=make.TESTER)
    tomorrow = timezone.now() + timedelta(days=1)
    allowances.schedule(team, amount_micros=5_000_000, effective_at=tomorrow, actor=make.TESTER)
    _, code = vouchers.create(amount_micros=5_000_000, actor=make.TESTER)
    vouchers.redeem(team, code, actor=make.TESTER)


def _sell(team: Team, number: int) -> None:
    """A paid, partly refunded and disputed checkout, a saved method and a top-up that failed."""
    pack = packs.create(name=f"pack {number}", credits=5, amount_minor=500, currency="USD", actor=make.TESTER)
    checkout = Checkout.objects.create(
        team=team, organization=team.organization, pack=pack, credits=5, amount_minor=500, currency="USD"
    )
    about = {"payment_id": f"pi_{number}", "amount_minor": 500, "currency": "USD"}
    for event in (
        PaymentEvent(id=f"evt_a{number}", type="paid", kind=Kind.PAID, checkout=str(checkout.pk), **about),
        PaymentEvent(id=f"evt_b{number}", type="refunded", kind=Kind.REFUNDED, refunded_minor=100, **about),
        PaymentEvent(id=f"evt_c{number}", type="disputed", kind=Kind.DISPUTED, dispute_id=f"du_{number}", **about),
    ):
        # The checkout of no provider: none is asked here.
        webhooks.handle("", event)
    SavedMethod.objects.create(team=team, customer_id=f"cus_{number}", method_id=f"pm_{number}")
    TopUp.objects.create(
        team=team,
        pack=pack,
        threshold_micros=1,
        credits=5,
        amount_minor=500,
        currency="USD",
        monthly_ceiling_minor=500,
        consented_at=timezone.now(),
    )
    attempt = TopUpAttempt.objects.create(
        team=team, organization=team.organization, credits=5, amount_minor=500, currency="USD"
    )
    attempts.fail(attempt, "card_declined")
    ahead = timezone.now() + timedelta(days=number)
    currencies.add_rate("EUR", units_per_usd_ppb=920_000_000, valid_from=ahead, actor=make.TESTER)


def _close_books(team: Team, number: int) -> None:
    sealing.seal_all()
    period = Period.objects.create(name=f"{1000 + number}-01", ends_at=timezone.now(), closed_by="test")
    wallet = Account.objects.get(team=team)
    PeriodBalance.objects.create(period=period, account=wallet, last_seq=1, posted_micros=1)


def _roll_up(number: int) -> None:
    quarter = quarter_of(timezone.now())
    statements.fill_quarter(quarter, quarter + QUARTER, with_refusals=True)
    statements.fill_customers(quarter.date(), "UTC", quarter, quarter + QUARTER)
    Watermark.objects.create(name=f"mark {number}", until=quarter)


def ask(customer: make.Customer, job_id: object) -> object:
    """Submit a call. Its id."""
    body = {"messages": [{"role": "user", "content": SECRET_PROMPT}]}
    request = services.CallRequest(body=body, fingerprint=f"{job_id}")
    return services.submit_call(customer.principal, request, job_id=str(job_id), wait_s=28, reply_to="").call_id
