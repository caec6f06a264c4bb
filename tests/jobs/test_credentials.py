"""Calls of the route `openai` go to the address and with the key of their organization's credential, else ours."""

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import InterfaceError, connection
from django.test.utils import CaptureQueriesContext

from apps.catalog import credentials, model_groups
from apps.catalog.models import ModelAlias, ProviderCredential
from apps.core.models import AuditEntry
from apps.jobs import candidates, services, targets
from apps.jobs.gateway import deadline, openai_http
from apps.jobs.models import Attempt, Call
from apps.jobs.streaming import marks
from tests import make
from tests.harness.fake_provider import RunningProvider
from tests.harness.faults import CANARY_HOST, CANARY_SECRET
from tests.jobs import steps
from tests.jobs.raw_http import RawServer, response, sending, serving
from tests.jobs.test_gateway_answers import HONEST

# Small letters and digits alone: the server keeps headers in small letters.
KEY = "sk-of-acme-0123456789abcdef"
PLATFORM_KEY = "sk-of-the-platform-0123456789"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(deadline, "_local", threading.local())
    monkeypatch.setattr(openai_http, "_local", threading.local())
    monkeypatch.setattr(marks, "_ensure_saver", lambda: None)
    candidates.forget()
    yield
    candidates.forget()


@pytest.fixture
def server() -> Iterator[RawServer]:
    """A provider that keeps what it was sent."""
    with serving(sending(response(json.dumps(HONEST).encode()))) as running:
        yield running


@pytest.fixture
def customer(db: None) -> make.Customer:
    make.alias("direct", route=ModelAlias.Route.OPENAI, provider="openai", provider_model="gpt-9", is_open=True)
    return make.customer(team_id="acme", credits=100)


def keep(customer: make.Customer | None, url: str, **more: Any) -> ProviderCredential:
    return credentials.create(
        **{
            "organization": customer.organization if customer else None,
            "provider": "openai",
            "name": "main",
            "api_key": KEY if customer else PLATFORM_KEY,
            "api_base": f"{url}/v1",
            "actor": make.TESTER,
        }
        | more
    )


def called(customer: make.Customer, model: str = "direct", **more: Any) -> Call:
    submitted = steps.ask(customer, steps.open_job(customer), model=model, **more)
    assert steps.run(submitted)
    return steps.call_of(submitted)


def keys_sent(server: RawServer) -> list[str]:
    lines = [line for head in server.heads for line in head.splitlines() if line.startswith("authorization:")]
    return [line.removeprefix("authorization: bearer ") for line in lines]


def test_call_is_made_with_its_organization_s_key(customer: make.Customer, server: RawServer):
    keep(customer, server.url)
    keep(None, "http://127.0.0.1:9")

    call = called(customer)

    assert (call.state, call.provider, call.provider_model) == ("succeeded", "openai", "gpt-9")
    assert keys_sent(server) == [KEY]
    assert server.heads[0].startswith("post /v1/chat/completions ")
    assert server.bodies[0]["model"] == "gpt-9"


def test_call_of_an_organization_without_one_is_made_with_the_platform_s(
    customer: make.Customer, globex: make.Customer, server: RawServer
):
    keep(globex, "http://127.0.0.1:9")
    keep(None, server.url)

    assert called(customer).state == "succeeded"
    assert keys_sent(server) == [PLATFORM_KEY]


def test_replaced_key_counts_from_the_next_call_on(customer: make.Customer, server: RawServer):
    credential = keep(customer, server.url)
    called(customer, text="first")
    credentials.update(str(credential.pk), {}, api_key="sk-replaced", actor=make.TESTER)
    called(customer, text="second")
    assert keys_sent(server) == [KEY, "sk-replaced"]


def test_withdrawn_key_is_used_no_more(customer: make.Customer, server: RawServer):
    credential = keep(customer, server.url)
    submitted = steps.ask(customer, steps.open_job(customer), model="direct")
    credentials.update(str(credential.pk), {"is_active": False}, actor=make.TESTER)
    steps.run(submitted)
    assert (steps.call_of(submitted).error_code, server.heads) == ("provider_configuration", [])


@pytest.mark.parametrize(
    "more",
    [{"is_active": False}, {"provider": "gemini"}],
    ids=["inactive", "of another provider"],
)
def test_call_without_a_credential_fails_as_ours_to_mend_and_costs_nothing(
    customer: make.Customer, globex: make.Customer, server: RawServer, more: dict[str, Any]
):
    keep(customer, server.url, **more)
    keep(globex, server.url)

    call = called(customer)

    assert (call.state, call.error_code, call.error_status) == ("failed", "provider_configuration", 503)
    assert call.job.lost_cost_nanousd == 0
    assert server.heads == []


def test_credential_that_cannot_be_used_is_not_passed_over_for_the_platform_s(
    customer: make.Customer, server: RawServer, settings: Any
):
    keep(customer, server.url)
    settings.SECRET_KEY = "another"
    settings.ENCRYPTION_KEYS = []
    keep(None, server.url)

    assert called(customer).error_code == "provider_configuration"
    assert server.heads == []


def test_model_group_goes_on_with_its_next_model(customer: make.Customer, server: RawServer):
    make.alias("other", route=ModelAlias.Route.OPENAI, provider="fireworks", provider_model="llama")
    members = [model_groups.Member(name, priority) for priority, name in enumerate(("direct", "other"))]
    model_groups.create("chat", members=members, actor=make.TESTER)
    grouped = make.customer(team_id="grouped", org=customer.organization, credits=100, model_groups=["chat"])
    keep(customer, server.url, provider="fireworks")

    call = called(grouped, "chat")

    assert (call.state, call.model_used, keys_sent(server)) == ("succeeded", "other", [KEY])
    tries = list(Attempt.objects.order_by("started_at", "id").values_list("provider_model", "state", "error_code"))
    assert tries == [("gpt-9", "failed", "provider_configuration"), ("llama", "succeeded", "")]


@pytest.mark.parametrize(
    ("name", "provider", "asked"),
    [("gpt-9", "openai", "gpt-9"), ("openai/gpt-9", None, "gpt-9"), ("a/openai/gpt-9", "openai", "a/openai/gpt-9")],
)
def test_member_that_is_no_alias_is_called_with_its_provider_s_key(
    customer: make.Customer, server: RawServer, name: str, provider: str | None, asked: str
):
    members = [model_groups.Member(name, route="openai", provider=provider)]
    model_groups.create("chat", members=members, actor=make.TESTER)
    grouped = make.customer(team_id="grouped", org=customer.organization, credits=100, model_groups=["chat"])
    keep(customer, server.url)

    assert called(grouped, "chat").state == "succeeded"
    assert (keys_sent(server), server.bodies[0]["model"]) == ([KEY], asked)


def test_model_that_fails_one_organization_does_not_rest_for_another(
    customer: make.Customer, globex: make.Customer, provider: RunningProvider
):
    make.alias("limited", route=ModelAlias.Route.OPENAI, provider="openai", provider_model="fake-429")
    make.alias("other", route=ModelAlias.Route.OPENAI, provider="openai", provider_model="gpt-9")
    members = [model_groups.Member(name, priority) for priority, name in enumerate(("limited", "other"))]
    model_groups.create("chat", members=members, actor=make.TESTER)
    first, second = (
        make.customer(team_id=f"grouped-{number}", org=each.organization, credits=100, model_groups=["chat"])
        for number, each in enumerate((customer, globex))
    )
    for each in (customer, globex):
        keep(each, provider.url)
    for number in range(candidates.FAILURES_BEFORE_REST):
        called(first, "chat", text=f"call {number}")

    after = {each: called(each, "chat", text="after") for each in (first, second)}

    # Asked last, the one that fails is not reached; asked first, it is.
    tries = {each: Attempt.objects.filter(call=call).count() for each, call in after.items()}
    assert tries == {first: 1, second: 2}


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_call_through_the_fake_provider_is_settled_by_what_it_billed(
    customer: make.Customer, provider: RunningProvider, is_streamed: bool
):
    keep(customer, provider.url)

    call = called(customer, is_streamed=is_streamed)

    (execution,) = provider.executions()
    assert (call.state, execution.call_id, execution.model) == ("succeeded", str(call.pk), "gpt-9")
    assert (call.prompt_tokens, call.completion_tokens) == (
        execution.billed_prompt_tokens,
        execution.billed_completion_tokens,
    )


def test_embeddings_are_made_with_the_key_too(customer: make.Customer, provider: RunningProvider):
    keep(customer, provider.url)
    body = {"input": ["one", "two"]}
    request = services.CallRequest(body=body, fingerprint="embed", model="direct", kind=Call.Kind.EMBEDDING)
    job = steps.open_job(customer)
    submitted = services.submit_call(customer.principal, request, job_id=str(job.pk), wait_s=28, reply_to="")
    steps.run(submitted)

    call = steps.call_of(submitted)
    (execution,) = provider.executions()
    assert (call.state, execution.call_id) == ("succeeded", str(call.pk))


def test_key_that_the_provider_refuses_is_ours_to_mend_and_told_to_nobody(
    customer: make.Customer, provider: RunningProvider, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    ModelAlias.objects.filter(name="direct").update(provider_model="fake-401")
    keep(customer, provider.url)

    call = called(customer)

    assert (call.state, call.error_code) == ("failed", "provider_configuration")
    rows = [*Call.objects.values(), *Attempt.objects.values(), *AuditEntry.objects.values()]
    for secret in (KEY, CANARY_SECRET, CANARY_HOST, provider.url):
        assert secret not in str([row for row in rows if row.get("object_kind") != "credential"])
    assert KEY not in str(rows) + caplog.text


def test_key_is_in_no_repr_of_what_the_worker_holds(customer: make.Customer, server: RawServer):
    keep(customer, server.url)
    call = called(customer)
    target = targets.of_call(call, until=0.0)
    assert target is not None
    assert target.api_key == KEY
    assert KEY not in repr(target)


def test_credential_costs_one_query_and_other_routes_none(customer: make.Customer, server: RawServer):
    keep(customer, server.url)
    call = called(customer)
    with CaptureQueriesContext(connection) as captured:
        targets.of_call(call, until=0.0)
    assert len(captured) == 1
    for route in ("litellm", "litellm_sdk", "demo"):
        call.route = route
        with CaptureQueriesContext(connection) as captured:
            assert targets.of_call(call, until=0.0) is None
        assert len(captured) == 0


def test_credential_is_read_again_when_the_database_was_away(
    customer: make.Customer, server: RawServer, monkeypatch: pytest.MonkeyPatch
):
    keep(customer, server.url)
    failing = [InterfaceError("connection already closed")]
    read = credentials.for_call

    def for_call(*args: Any) -> Any:
        if failing:
            raise failing.pop()
        return read(*args)

    monkeypatch.setattr(credentials, "for_call", for_call)

    assert called(customer).state == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_provider_works(monkeypatch: pytest.MonkeyPatch):
    make.alias("direct", route=ModelAlias.Route.OPENAI, provider="openai", provider_model="gpt-9", is_open=True)
    customer = make.customer(credits=100)
    held: list[bool] = []

    def complete(*_: Any, **__: Any) -> Any:
        held.append(connection.connection is not None)
        return steps.answer()

    monkeypatch.setattr(openai_http, "complete", complete)
    monkeypatch.setattr("apps.jobs.leases._ensure_renewer", lambda: None)
    keep(customer, "http://127.0.0.1:9")

    assert called(customer).state == "succeeded"
    assert held == [False]
