"""Every endpoint with which operators change something leaves a row that names them, what was and what is, no secret.

One example each; an endpoint without one fails the first test.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from apps.core import clock
from apps.core.models import AuditEntry
from apps.credits import ledger
from apps.credits.models import Entry, Grant
from apps.payments.models import SavedMethod
from tests import make
from tests.api.calling import Caller, finished_job
from tests.api.test_rights import ENDPOINTS
from tests.payments import stripe_server

OWNER = "operator:owner@example.com"
PROVIDERS_KEY = "sk-of-a-provider-never-to-be-seen"
# Questions, asked by POST; and what is changed with a team's key alone.
CHANGES_NOTHING = {"CheckCredits-post", "Quotes-post", "OneJob-patch"}


class World:
    """A customer, and what the master key makes before the operator's own request."""

    def __init__(self, acme: make.Customer, master: Caller) -> None:
        self.acme, self.master = acme, master
        self.org = f"/api/organizations/{acme.organization.organization_id}"
        self.pool = f"/api/credits/organizations/{acme.organization.organization_id}"

    def made(self, path: str, body: Any) -> dict[str, Any]:
        answer = self.master.post(path, body)
        assert answer.status_code == 200, (path, answer.content)
        return dict(answer.json())

    def alias(self, name: str = "gpt") -> str:
        make.alias(name)
        return name

    def bundle(self) -> str:
        make.access_group("bundle", self.alias())
        return "bundle"

    def agents(self) -> str:
        make.model_group("agents", self.alias())
        return "agents"

    def credential(self, **more: Any) -> str:
        body = {"organization_id": None, "provider": "openai", "api_key": PROVIDERS_KEY, "credential_name": "main"}
        return str(self.made("/api/provider-credentials/create", body | more)["credential_id"])

    def card(self) -> str:
        return str(self.made("/api/rate-cards", {"mode": "flat", "team_id": "acme"})["card_id"])

    def limit(self) -> str:
        body = {"scope": "team", "id": "acme", "metric": "requests_per_minute", "amount": 100}
        return str(self.master.put("/api/limits", body).json()["limit_id"])

    def voucher(self) -> dict[str, Any]:
        return self.made("/api/vouchers", {"credits": 5})

    def pack(self) -> str:
        return str(self.made("/api/payments/packs", {"name": "five", "credits": 5, "amount": 500})["pack_id"])

    def scheduled(self) -> str:
        body = {"credits": 5, "effective_at": _later(days=1)}
        return str(self.made("/api/credits/teams/acme/scheduled-grants", body)["id"])

    def funded(self) -> str:
        self.made(f"{self.pool}/add", {"credits": 50})
        return self.pool

    def key(self) -> str:
        return str(self.made("/api/teams/acme/keys", {})["key_id"])

    def member(self) -> str:
        body = {"email": "ana@example.com", "role": "viewer"}
        return f"{self.org}/members/{self.made(f'{self.org}/members', body)['user_id']}"

    def operator(self) -> str:
        body = {"email": "vera@example.com", "role": "viewer"}
        return f"/api/operators/{self.made('/api/operators', body)['user_id']}"

    def token(self) -> str:
        path = self.operator()
        return f"{path}/tokens/{self.made(f'{path}/tokens', {'name': 'x'})['token_id']}"

    def charge(self) -> str:
        finished_job(Caller(self.acme.headers))
        return str(Entry.objects.get(kind=Entry.Kind.CHARGE).pk)

    def paused(self, path: str, verb: str) -> str:
        assert self.master.put(f"{path}/{verb}").status_code == 200
        return path


def _later(**ahead: float) -> str:
    return str(clock.iso(clock.now() + timedelta(**ahead)))


def _checkout(world: World) -> tuple[str, Any]:
    pages = {"success_url": "https://app.example.com/paid", "cancel_url": "https://app.example.com/"}
    return "/api/payments/checkout", {"pack_id": world.pack(), "team_id": "acme", **pages}


def _top_up(world: World) -> tuple[str, Any]:
    SavedMethod.objects.create(team=world.acme.team, provider="stripe", customer_id="cus_1", method_id="pm_1")
    terms = {"threshold_credits": 10, "monthly_ceiling": 5000, "return_url": "https://app.example.com/"}
    return "/api/credits/teams/acme/top-up", {"enabled": True, "pack_id": world.pack(), **terms}


def _provision(world: World) -> tuple[str, Any]:
    return "/api/teams/create", {
        "team_id": "fresh",
        "organization_id": world.acme.organization.organization_id,
        "credits_allocated": 5,
    }


def _granted(world: World) -> tuple[str, Any]:
    given = ledger.grant(
        world.acme.team, amount_micros=5_000_000, actor=make.TESTER, key="promo", kind=Grant.Kind.PROMOTIONAL
    )
    return f"/api/credits/entries/{given.pk}/reverse", {"all": True, "reason": "a mistake"}


GPT = {"model_alias": "fresh", "display_name": "Fresh", "provider": "openai", "actual_model": "gpt-4o"}
EXAMPLES: dict[str, Callable[[World], tuple[str, Any]]] = {
    "CreateAccessGroup-post": lambda w: ("/api/model-access-groups/create", {"group_name": "fresh"}),
    "OneAccessGroup-put": lambda w: (f"/api/model-access-groups/{w.bundle()}", {"description": "x"}),
    "OneAccessGroup-delete": lambda w: (f"/api/model-access-groups/{w.bundle()}", None),
    "AccessGroupModels-put": lambda w: (f"/api/model-access-groups/{w.bundle()}/models", []),
    "AddModels-post": lambda w: (f"/api/model-access-groups/{w.bundle()}/add-models", [w.alias("other")]),
    "RemoveModels-post": lambda w: (f"/api/model-access-groups/{w.bundle()}/remove-models", ["gpt"]),
    "CreateAlias-post": lambda w: ("/api/models/create", GPT),
    "OneAlias-put": lambda w: (f"/api/models/{w.alias()}", {"description": "x"}),
    "OneAlias-delete": lambda w: (f"/api/models/{w.alias()}", None),
    "CreateByLitellmModel-post": lambda w: (
        "/api/model-aliases/create",
        {"alias": "fresh", "litellm_model": "gpt-4o", "provider": "openai"},
    ),
    "OneByLitellmModel-put": lambda w: (f"/api/model-aliases/{w.alias()}", {"litellm_model": "gpt-5"}),
    "OneByLitellmModel-delete": lambda w: (f"/api/model-aliases/{w.alias()}", None),
    "CreateModelGroup-post": lambda w: ("/api/model-groups/create", {"group_name": "fresh"}),
    "OneModelGroup-put": lambda w: (f"/api/model-groups/{w.agents()}", {"description": "x"}),
    "OneModelGroup-delete": lambda w: (f"/api/model-groups/{w.agents()}", None),
    "ModelGroupModels-put": lambda w: (f"/api/model-groups/{w.agents()}/models", {"models": []}),
    "CreateCredential-post": lambda w: (
        "/api/provider-credentials/create",
        {"organization_id": None, "provider": "openai", "api_key": PROVIDERS_KEY, "credential_name": "x"},
    ),
    "OneCredential-put": lambda w: (
        f"/api/provider-credentials/{w.credential()}",
        {"api_key": PROVIDERS_KEY + "2", "credential_name": "renamed"},
    ),
    "OneCredential-delete": lambda w: (f"/api/provider-credentials/{w.credential()}", None),
    "ActivateCredential-put": lambda w: (
        f"{w.paused(f'/api/provider-credentials/{w.credential()}', 'deactivate')}/activate",
        None,
    ),
    "DeactivateCredential-put": lambda w: (f"/api/provider-credentials/{w.credential()}/deactivate", None),
    "Prices-post": lambda w: ("/api/prices", {"model": "openai/gpt-4o", "input": 1, "output": 2}),
    "RateCardList-post": lambda w: ("/api/rate-cards", {"mode": "flat", "team_id": "acme"}),
    "RateCardVersions-post": lambda w: (
        f"/api/rate-cards/{_active(w)}/versions",
        {"mode": "flat", "price_credits": 8},
    ),
    "OneRateCardVersion-patch": lambda w: (f"/api/rate-cards/{w.card()}/versions/1", {"price_credits": 7}),
    "OneRateCardVersion-delete": lambda w: (f"/api/rate-cards/{w.card()}/versions/1", None),
    "ActivateVersion-post": lambda w: (f"/api/rate-cards/{w.card()}/versions/1/activate", None),
    "TeamMarkup-patch": lambda w: ("/api/teams/acme/markup", {"cost_markup_percentage": 20}),
    "TeamBudgetMode-patch": lambda w: (
        "/api/credits/teams/acme/budget-mode",
        {"budget_mode": "consumption_usd", "credits_per_dollar": 10},
    ),
    "ConversionRates-patch": lambda w: ("/api/credits/teams/acme/conversion-rates", {"credits_per_dollar": 12}),
    "ConfigureAutoRefill-post": lambda w: (
        "/api/credits/teams/acme/configure-auto-refill",
        {"enabled": True, "refill_amount": 5, "refill_period": "monthly"},
    ),
    "ScheduledGrants-post": lambda w: (
        "/api/credits/teams/acme/scheduled-grants",
        {"credits": 5, "effective_at": _later(days=1)},
    ),
    "OneScheduledGrant-delete": lambda w: (f"/api/credits/teams/acme/scheduled-grants/{w.scheduled()}", None),
    "RefundEntry-post": lambda w: (f"/api/credits/entries/{w.charge()}/refund", {"all": True, "reason": "sorry"}),
    "ReverseEntry-post": _granted,
    "AddCredits-post": lambda w: ("/api/credits/teams/acme/add", {"credits": 5}),
    "Replenish-post": lambda w: (
        "/api/credits/teams/acme/replenish",
        {"credits": 5, "payment_type": "one_time", "payment_amount_usd": 5},
    ),
    "CreditLine-put": lambda w: ("/api/credits/teams/acme/credit-line", {"credits": 5}),
    "FundPool-post": lambda w: (f"{w.pool}/add", {"credits": 5}),
    "Allocate-post": lambda w: (f"{w.funded()}/allocate", {"team_id": "acme", "credits": 5}),
    "Reclaim-post": lambda w: (f"{_allocated(w)}/reclaim", {"team_id": "acme", "credits": 5}),
    "VoucherList-post": lambda w: ("/api/vouchers", {"credits": 5}),
    "OneVoucher-delete": lambda w: (f"/api/vouchers/{w.voucher()['voucher_id']}", None),
    "RedeemVoucher-post": lambda w: ("/api/vouchers/redeem", {"team_id": "acme", "code": w.voucher()["code"]}),
    "PackList-post": lambda w: ("/api/payments/packs", {"name": "x", "credits": 5, "amount": 500}),
    "OnePack-patch": lambda w: (f"/api/payments/packs/{w.pack()}", {"is_active": False}),
    "CreateCheckout-post": _checkout,
    "TeamTopUp-put": _top_up,
    "RateList-post": lambda w: ("/api/currency-rates", {"currency": "EUR", "units_per_usd": 0.9}),
    "OrganizationCurrency-put": lambda w: (_with_rate(w), {"display_currency": "EUR"}),
    "ClosePeriod-post": lambda w: ("/api/periods/close", {"period": f"{clock.now():%Y-%m}"}),
    "TeamKeys-post": lambda w: ("/api/teams/acme/keys", {}),
    "RotateKey-post": lambda w: (f"/api/teams/acme/keys/{w.key()}/rotate", None),
    "OneKey-delete": lambda w: (f"/api/teams/acme/keys/{w.key()}", None),
    "LimitList-put": lambda w: (
        "/api/limits",
        {"scope": "team", "id": "acme", "metric": "requests_per_minute", "amount": 10},
    ),
    "OneLimit-delete": lambda w: (f"/api/limits/{w.limit()}", None),
    "RaiseLimit-post": lambda w: (f"/api/limits/{w.limit()}/raise", {"amount": 200, "until": _later(days=1)}),
    "Provision-post": lambda w: (
        "/api/provision",
        {"organization_id": "fresh", "organization_name": "Fresh", "team_id": "fresh-team", "credits_allocated": 5},
    ),
    "CreateOrganization-post": lambda w: ("/api/organizations/create", {"organization_id": "fresh", "name": "Fresh"}),
    "OneOrganization-put": lambda w: (w.org, {"time_zone": "Europe/Berlin"}),
    "OrganizationStatus-put": lambda w: (f"{w.org}/status", {"status": "suspended", "reason": "x"}),
    "SuspendOrganization-put": lambda w: (f"{w.org}/suspend", None),
    "SuspendOrganization-post": lambda w: (f"{w.org}/suspend", None),
    "ResumeOrganization-put": lambda w: (f"{w.paused(w.org, 'suspend')}/resume", None),
    "ResumeOrganization-post": lambda w: (f"{w.paused(w.org, 'suspend')}/resume", None),
    "MemberList-post": lambda w: (f"{w.org}/members", {"email": "ana@example.com", "role": "viewer"}),
    "OneMember-patch": lambda w: (w.member(), {"role": "billing"}),
    "OneMember-delete": lambda w: (w.member(), None),
    "OperatorList-post": lambda w: ("/api/operators", {"email": "vera@example.com", "role": "viewer"}),
    "OneOperator-patch": lambda w: (w.operator(), {"role": "support"}),
    "OperatorTokens-post": lambda w: (f"{w.operator()}/tokens", {"name": "x"}),
    "OneOperatorToken-delete": lambda w: (w.token(), None),
    "CreateTeam-post": _provision,
    "OneTeam-put": lambda w: ("/api/teams/acme", {"team_alias": "Acme's", "credits_allocated": 120}),
    "TeamAccessGroups-put": lambda w: ("/api/teams/acme/access-groups", [w.bundle()]),
    "TeamModelGroups-put": lambda w: ("/api/teams/acme/model-groups", [w.agents()]),
    **{
        f"{verb.title()}Team-{method}": lambda w, verb=verb: (f"/api/teams/acme/{verb}", {"reason": "x"})
        for verb in ("suspend", "pause")
        for method in ("put", "post")
    },
    **{
        f"ResumeTeam-{method}": lambda w: (f"{w.paused('/api/teams/acme', 'suspend')}/resume", None)
        for method in ("put", "post")
    },
}


def _active(world: World) -> str:
    card_id = world.card()
    world.made(f"/api/rate-cards/{card_id}/versions/1/activate", {})
    return card_id


def _allocated(world: World) -> str:
    pool = world.funded()
    world.made(f"{pool}/allocate", {"team_id": "acme", "credits": 10})
    return pool


def _with_rate(world: World) -> str:
    world.made("/api/currency-rates", {"currency": "EUR", "units_per_usd": 0.9})
    return f"{world.org}/display-currency"


def test_every_endpoint_that_changes_something_has_an_example():
    changing = {str(each.id) for each in ENDPOINTS if not str(each.id).endswith("-get")}
    assert changing == EXAMPLES.keys() | CHANGES_NOTHING


@pytest.fixture
def stripe(settings: Any) -> Iterator[None]:
    with stripe_server.running() as fake:
        settings.STRIPE_SECRET_KEY = stripe_server.KEY
        settings.STRIPE_WEBHOOK_SECRETS = [stripe_server.SECRET]
        settings.STRIPE_API_BASE = fake.base
        yield


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_change_names_its_operator(
    example: str,
    acme: make.Customer,
    operator: Caller,
    worker: None,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
):
    if example.startswith(("CreateCheckout", "TeamTopUp")):
        request.getfixturevalue("stripe")
    path, body = EXAMPLES[example](World(acme, operator))
    if example.startswith("ClosePeriod"):
        later = clock.db_now() + timedelta(days=40)
        monkeypatch.setattr(clock, "db_now", lambda: later)
    staff = make.operator("owner")
    known = set(AuditEntry.objects.values_list("pk", flat=True))
    method = example.rsplit("-", 1)[1]
    caller = Caller(staff.headers)

    answer = caller.delete(path) if method == "delete" else getattr(caller, method)(path, body)

    assert answer.status_code == 200, answer.content
    rows = list(AuditEntry.objects.exclude(pk__in=known))
    assert rows, "no audit row"
    for row in rows:
        assert (row.actor, row.via, row.address) == (OWNER, staff.token.prefix, "127.0.0.1"), row
        assert row.before or row.after, row
    changed = [row for row in rows if row.before and row.after]
    if method in ("put", "patch"):
        assert changed or example == "LimitList-put", "no row says what was and what is"
    if method == "delete":
        assert any(row.before for row in rows)
    _require_no_secret(rows, answer.json())


def _require_no_secret(rows: list[AuditEntry], answer: Any) -> None:
    written = str([(row.before, row.after, row.reason, row.object_id) for row in rows])
    assert PROVIDERS_KEY not in written
    for name in ("virtual_key", "token", "code"):
        secret = answer.get(name) if isinstance(answer, dict) else None
        assert not secret or secret not in written
