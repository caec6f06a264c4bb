"""The typed client against a served platform: what it retries is charged once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from apps.core import verification
from apps.credits import billing
from apps.jobs import asking
from apps.jobs.gateway.interface import GatewayError
from apps.jobs.models import Call
from examples.typed_client import (
    AuthenticationError,
    JobCapReached,
    NotFound,
    ServerUnavailable,
    SyncSaaSLLMClient,
)
from tests import make
from tests.examples.fake_api import HELLO, OTHER_JOB_ID

pytestmark = pytest.mark.django_db(transaction=True)


class Losing(httpx.AsyncBaseTransport):
    """Loses the answers to requests whose path ends so, each once."""

    def __init__(self, *endings: str) -> None:
        self.endings = list(endings)
        self.requests: list[httpx.Request] = []
        self._real = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        response = await self._real.handle_async_request(request)
        ending = request.url.path.rsplit("/", 1)[1]
        if ending in self.endings:
            self.endings.remove(ending)
            await response.aread()
            raise httpx.ReadError("connection reset", request=request)
        return response

    async def aclose(self) -> None:
        await self._real.aclose()


class City(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(seconds: float) -> None:
        """The pause between two tries is over at once."""

    monkeypatch.setattr(asyncio, "sleep", sleep)


@pytest.fixture
def transport() -> Losing:
    return Losing()


@pytest.fixture
def client(acme: make.Customer, live_server: Any, worker: None, transport: Losing) -> Iterator[SyncSaaSLLMClient]:
    with SyncSaaSLLMClient(live_server.url, "acme", acme.secret, transport=transport) as made:
        yield made
    assert [str(difference) for difference in verification.differences()] == []


def left(customer: make.Customer) -> float:
    return billing.balance(customer.team).spendable_micros / 1_000_000


def test_every_lost_answer_is_found_again_and_one_credit_is_charged(client, acme, transport):
    transport.endings = ["create", "llm-call", "llm-call-stream", "complete"]

    with client.job("query") as job:
        whole = client.chat(job.job_id, HELLO)
        pieces = "".join(chunk.content for chunk in client.chat_stream(job.job_id, HELLO))

    assert whole.content == pieces != ""
    assert transport.endings == []
    assert len(transport.requests) == 8
    assert job.completion.total_calls == Call.objects.count() == 2
    assert left(acme) == 99


def test_a_call_that_failed_is_made_anew_and_nothing_is_charged_twice(client, acme, monkeypatch):
    real, failures = asking.gateway_for, [GatewayError("provider_unavailable", "away", status=503)]

    def gateway(route: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(route)

    monkeypatch.setattr(asking, "gateway_for", gateway)

    with client.job("query") as job:
        first = client.chat(job.job_id, HELLO, idempotency_key="invoice-7")
        again = client.chat(job.job_id, HELLO, idempotency_key="invoice-7")

    assert again == first
    assert sorted(Call.objects.values_list("state", flat=True)) == ["failed", "succeeded"]
    assert left(acme) == 99


def test_a_model_that_stays_away_is_given_up_and_the_job_fails_uncharged(client, acme, monkeypatch):
    def gateway(route: Any) -> Any:
        raise GatewayError("provider_unavailable", "away", status=503)

    monkeypatch.setattr(asking, "gateway_for", gateway)

    with pytest.raises(ServerUnavailable) as caught, client.job("query") as job:
        client.chat(job.job_id, HELLO)

    assert caught.value.code == "provider_unavailable"
    assert job.completion.status == "failed"
    assert Call.objects.count() == 3
    assert left(acme) == 100


def test_structured_output_is_answered_in_its_shape(client):
    with client.job("city"):
        whole = client.structured_output(messages=HELLO, response_model=City)
        text = "".join(client.structured_output_stream(messages=HELLO, response_model=City))

    assert City.model_validate_json(text) == whole


def test_errors_are_told_apart_by_their_code(client, live_server):
    with pytest.raises(NotFound) as missing:
        client.chat(OTHER_JOB_ID, HELLO)
    assert missing.value.code == "job_not_found"

    with SyncSaaSLLMClient(live_server.url, "acme", "sk-wrong") as nobody, pytest.raises(AuthenticationError):
        nobody.create_job("query")


def test_embeddings_join_the_job_and_are_charged_with_it(client, acme, transport):
    transport.endings = ["embeddings"]

    with client.job("index") as job:
        one, two = client.embeddings(["a", "b"], dimensions=8).vectors
        client.chat(messages=HELLO)

    assert len(one) == len(two) == 8
    assert one != two
    assert job.completion.total_calls == Call.objects.count() == 2
    assert left(acme) == 99


def test_embeddings_outside_a_job_are_a_job_of_their_own(client, acme):
    assert len(client.embeddings("a").vectors) == 1

    assert left(acme) == 99


def test_job_pauses_at_its_ceiling_is_raised_and_another_is_cancelled(client, acme):
    job_id = client.create_job("agent", max_credits="0.5", on_cap="pause", deadline=600)
    with pytest.raises(JobCapReached):
        client.chat(job_id, HELLO)

    raised = client.update_job(job_id, max_credits=2)
    answer = client.chat(job_id, HELLO)
    last = list(client.chat_stream(job_id, HELLO))[-1]
    done = client.complete_job(job_id)

    assert (raised.paused_reason, raised.escrow.max_credits) == (None, 2)
    assert answer.escrow.remaining_exact == last.escrow.remaining_exact == "1"
    assert (done.escrow.used, left(acme)) == (1, 99)
    other = client.create_job("agent", max_credits=5, reserve=True)
    assert left(acme) == 94
    assert (client.cancel_job(other).status, left(acme)) == ("cancelled", 99)
