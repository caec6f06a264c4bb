"""A request that comes again is not charged again: by Idempotency-Key, or counted by OpenAI's client."""

from datetime import timedelta

import pytest
from django.db.models import F

from apps.jobs import asking, execution, replies, services
from apps.jobs.errors import ServerBusy
from apps.jobs.gateway import failures
from apps.jobs.models import Call, CallPayload, Job
from tests.api.calling import Caller, opened_job
from tests.openai_compat.asking import CHAT, MESSAGES, chat, refused, retried


def said(answer) -> str:
    assert answer.status_code == 200, answer.content
    return answer.json()["choices"][0]["message"]["content"]


def left(caller) -> int:
    return caller.get("/api/credits/teams/acme/balance").json()["credits_remaining"]


# --- Counted retries ---------------------------------------------------------------------------------------


def test_retry_gets_the_answer_that_was_lost_on_its_way(team_key, provider):
    first = chat(team_key)

    again = retried(team_key)

    assert (said(again), again["x-call-id"]) == ("Answer 1", first["x-call-id"])
    assert again["x-saasllm-credits-charged"] == "1"
    assert (len(provider.asked), left(team_key)) == (1, 99)


def test_retry_inside_a_job_gets_its_call(team_key, provider):
    named = {"X-Job-Id": opened_job(team_key)}
    first = chat(team_key, named)

    assert retried(team_key, headers=named)["x-call-id"] == first["x-call-id"]
    assert Job.objects.get().total_calls == 1


def test_retry_of_a_call_into_a_closed_job_still_has_its_answer(team_key, provider):
    named = {"X-Job-Id": opened_job(team_key)}
    first = chat(team_key, named)
    team_key.post(f"/api/jobs/{named['X-Job-Id']}/complete", {"status": "completed"})

    assert retried(team_key, headers=named)["x-call-id"] == first["x-call-id"]


def test_retry_without_an_earlier_call_makes_one(team_key, provider):
    assert said(retried(team_key)) == "Answer 1"


@pytest.mark.parametrize("count", ["0", "", "00", "x", "-1"])
def test_first_try_is_never_an_earlier_ones(team_key, provider, count):
    chat(team_key)

    assert said(retried(team_key, count)) == "Answer 2"
    assert left(team_key) == 98


def test_retry_of_other_words_is_another_call(team_key, provider):
    chat(team_key)

    assert said(retried(team_key, temperature=0.2)) == "Answer 2"


def test_retry_for_another_job_or_type_is_another_call(team_key, provider):
    chat(team_key)
    job_id = opened_job(team_key)

    assert said(retried(team_key, headers={"X-Job-Id": job_id})) == "Answer 2"
    assert said(retried(team_key, headers={"X-Job-Type": "resume"})) == "Answer 3"


def test_retry_of_another_key_of_the_team_is_another_call(team_key, operator, provider):
    chat(team_key)
    secret = operator.post("/api/teams/acme/keys", {}).json()["virtual_key"]

    assert said(retried(Caller({"Authorization": f"Bearer {secret}"}))) == "Answer 2"


def test_retry_of_a_failed_call_asks_the_model_again(team_key, provider):
    provider.fails()
    refused(chat(team_key), 503)

    assert said(retried(team_key)) == "Answer 2"
    assert left(team_key) == 99


def test_answer_from_before_the_failed_try_is_an_earlier_questions(team_key, provider):
    chat(team_key)
    older = Call.objects.get()
    Call.objects.update(
        created_at=F("created_at") - timedelta(minutes=5), ended_at=F("ended_at") - timedelta(minutes=5)
    )
    provider.fails()
    chat(team_key)

    answer = retried(team_key)

    assert said(answer) == "Answer 3"
    assert answer["x-call-id"] != str(older.pk)


def test_answer_from_beside_the_failed_try_may_be_the_lost_one(team_key, provider):
    first = chat(team_key)
    provider.fails()
    chat(team_key)
    # The first was still running when the second, which failed, was made.
    Call.objects.filter(state="succeeded").update(ended_at=F("ended_at") + timedelta(seconds=5))

    assert retried(team_key)["x-call-id"] == first["x-call-id"]


def test_retry_takes_up_what_nobody_was_answered_with(team_key, provider):
    unanswered = chat(team_key)
    services.mark_unanswered(unanswered["x-call-id"])
    newer = chat(team_key, {"Idempotency-Key": "k"})
    assert newer["x-call-id"] != unanswered["x-call-id"]

    assert retried(team_key)["x-call-id"] == unanswered["x-call-id"]
    assert not Call.objects.filter(unanswered_at__isnull=False).exists()


def test_retry_waits_for_the_call_that_still_runs(team_key, no_worker):
    first = chat(team_key, {"Prefer": "wait=0"})["x-call-id"]

    again = retried(team_key, headers={"Prefer": "wait=0"})

    assert (refused(again, 503)["code"], again["x-call-id"]) == ("call_still_running", first)
    execution.run_call(first)
    assert retried(team_key, 2)["x-call-id"] == first
    assert Call.objects.count() == 1


def test_retry_past_the_window_is_a_new_request(team_key, provider, settings):
    chat(team_key)
    Call.objects.update(ended_at=F("ended_at") - timedelta(seconds=settings.ATTACH_WINDOW_S + 1))

    assert said(retried(team_key)) == "Answer 2"


def test_answer_that_is_no_longer_kept_is_not_bought_again(team_key, provider):
    chat(team_key)
    CallPayload.objects.all().delete()

    answer = retried(team_key)

    assert (refused(answer, 409)["code"], answer["x-should-retry"]) == ("content_expired", "false")
    assert len(provider.asked) == 1


# --- Without a count ---------------------------------------------------------------------------------------


def test_asking_again_attaches_to_the_unanswered_call(team_key, no_worker):
    first = chat(team_key, {"Prefer": "wait=0"})["x-call-id"]
    execution.run_call(first)

    again = chat(team_key)

    assert (again.status_code, again["x-call-id"]) == (200, first)
    assert Call.objects.count() == 1


def test_same_words_for_another_job_do_not_attach(team_key, no_worker):
    chat(team_key, {"Prefer": "wait=0", "X-Job-Id": opened_job(team_key)})

    chat(team_key, {"Prefer": "wait=0", "X-Job-Id": opened_job(team_key)})

    assert Call.objects.count() == 2


# --- Idempotency-Key ---------------------------------------------------------------------------------------


def test_key_is_answered_once_and_replayed(team_key, provider):
    first, again = (team_key.post(CHAT, {"messages": MESSAGES}, key="k-1") for _ in range(2))

    assert again.json() == first.json()
    assert (first.has_header("Idempotency-Replayed"), again["Idempotency-Replayed"]) == (False, "true")
    assert (len(provider.asked), left(team_key)) == (1, 99)


@pytest.mark.parametrize("other", [{"headers": {"X-Job-Type": "resume"}}, {"temperature": 0.1}])
def test_key_of_another_request_is_refused(team_key, provider, other):
    chat(team_key, {"Idempotency-Key": "k-1"})

    headers = {"Idempotency-Key": "k-1", **other.pop("headers", {})}
    answer = chat(team_key, headers, **other)

    assert (refused(answer, 400)["code"], answer["x-should-retry"]) == ("idempotency_conflict", "false")
    assert Call.objects.count() == 1


def test_failed_call_stays_failed_under_its_key(team_key, provider):
    provider.fails()
    first, again = (chat(team_key, {"Idempotency-Key": "k-1"}) for _ in range(2))

    assert (refused(first, 503), first["x-should-retry"]) == (refused(again, 503), "false")
    assert len(provider.asked) == 1


@pytest.mark.parametrize(("key", "is_final"), [("k-1", True), (None, False)])
def test_stream_that_failed_before_its_first_piece_stays_failed_under_its_key_alone(
    team_key, worker, monkeypatch, key, is_final
):
    class Failing:
        def stream(self, request, *, timeout_s):
            raise failures.unreachable()

    monkeypatch.setattr(asking, "gateway_for", lambda _: Failing())
    headers = {"Idempotency-Key": key} if key else {}

    answers = [chat(team_key, headers, stream=True) for _ in range(2)]

    assert [refused(answer, 503)["code"] for answer in answers] == ["provider_unavailable"] * 2
    assert [answer.get("x-should-retry") == "false" for answer in answers] == [is_final] * 2
    assert len({answer["x-call-id"] for answer in answers}) == Call.objects.count() == (1 if is_final else 2)


def test_server_without_a_free_place_is_asked_again_also_under_a_key(team_key, worker, monkeypatch):
    def full(self):
        raise ServerBusy(retry_after_s=1)

    monkeypatch.setattr(replies.Mailbox, "place", full)

    answer = chat(team_key, {"Idempotency-Key": "k-1"}, stream=True)

    assert (refused(answer, 503)["code"], answer.get("x-should-retry")) == ("server_busy", None)


def test_unprintable_key_is_refused_by_name(team_key, provider):
    assert refused(chat(team_key, {"Idempotency-Key": "x" * 256}), 400)["param"] == "Idempotency-Key"
