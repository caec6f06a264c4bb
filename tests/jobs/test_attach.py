"""A repeated request stands for the call it made before, so that the provider is not paid twice for one question."""

from collections.abc import Callable
from typing import Any

import pytest

from apps.core import clock
from apps.core.errors import IdempotencyConflict
from apps.core.idempotency import Request
from apps.credits.errors import InsufficientCredits
from apps.jobs import services, sweeper
from apps.jobs.models import Call, Job
from tests import make
from tests.jobs import steps

Submit = Callable[..., services.Submitted]


@pytest.fixture(params=["call into a job", "job of one call"])
def submit(request: pytest.FixtureRequest, acme: make.Customer) -> Submit:
    """Asks once more, each time in the same words: by both kinds of call."""
    if request.param == "job of one call":
        return lambda **more: steps.create_and_call(more.pop("customer", acme), **more)
    job = steps.open_job(acme)
    return lambda **more: steps.ask(more.pop("customer", acme), job, **more)


def leave(submitted: services.Submitted) -> None:
    """The caller is sent away without its answer."""
    services.mark_unanswered(submitted.call_id)


def key(text: str = "key-1", *, fingerprint: str = "same", scope: str = "team:acme") -> Request:
    return Request(scope, text, fingerprint)


# --- Without a key: unanswered calls ------------------------------------------------------------------------


def test_same_request_gets_the_call_that_its_caller_left_behind(submit: Submit):
    first = submit()
    leave(first)

    again = submit()

    assert (again.call_id, again.job_id) == (first.call_id, first.job_id)
    assert (again.is_new, again.is_replay) == (False, False)
    assert (Call.objects.count(), Job.objects.count()) == (1, 1)


@pytest.mark.parametrize("state", ["running", "succeeded"])
def test_it_is_attached_while_it_runs_and_when_it_has_succeeded(submit: Submit, monkeypatch: Any, state: str):
    first = submit()
    if state == "running":
        from apps.jobs import execution

        execution.claim(str(first.call_id))
    else:
        steps.run(first)
    leave(first)

    assert submit().call_id == first.call_id
    assert steps.call_of(first).state == state


def test_one_caller_gets_it_the_next_makes_a_new_call(submit: Submit):
    first = submit()
    leave(first)

    assert submit().call_id == first.call_id
    assert submit().call_id != first.call_id
    assert Call.objects.count() == 2


def test_call_whose_caller_still_waits_is_nobody_else_s(submit: Submit):
    first = submit()

    assert submit().call_id != first.call_id


@pytest.mark.parametrize("state", ["failed", "expired", "cancelled"])
def test_call_that_did_not_succeed_is_never_attached(submit: Submit, state: str):
    from apps.jobs import lifecycle

    first = submit()
    outcome = lifecycle.Outcome(Call.State(state), error_code="x", error_status=500, error_message="x")
    assert lifecycle.end_call(first.job_id, first.call_id, outcome, claim=0)
    leave(first)

    if steps.job_of(first).is_closed:
        again = submit()
        assert again.job_id != first.job_id
    else:
        again = submit()
    assert again.call_id != first.call_id


def test_other_words_are_another_call(submit: Submit):
    leave(submit())

    assert submit(text="What is Flask?", fingerprint="another").is_new


def test_fingerprint_of_another_team_attaches_to_nothing(submit: Submit, globex: make.Customer):
    leave(submit())

    assert steps.create_and_call(globex).is_new


def test_nothing_is_attached_after_the_window(submit: Submit, settings: Any):
    settings.ATTACH_WINDOW_S = 600
    first, second = submit(), submit(text="other", fingerprint="other")
    for submitted in (first, second):
        leave(submitted)
    steps.at(steps.call_of(first), unanswered_at=-601)
    steps.at(steps.call_of(second), unanswered_at=-595)

    assert submit().is_new
    assert submit(text="other", fingerprint="other").call_id == second.call_id


def test_mark_of_an_unanswered_call_keeps_its_first_instant(submit: Submit):
    first = submit()
    leave(first)
    steps.at(steps.call_of(first), unanswered_at=-100)

    leave(first)

    left = steps.call_of(first).unanswered_at
    assert left is not None
    assert (clock.db_now() - left).total_seconds() > 90


def test_attached_call_costs_nothing_more(acme: make.Customer):
    first = steps.create_and_call(acme)
    steps.run(first)
    leave(first)

    steps.create_and_call(acme)

    assert steps.money(acme) == (99, 0)


def test_attached_call_does_not_expire_while_its_new_caller_waits(submit: Submit):
    first = submit()
    leave(first)
    steps.at(steps.call_of(first), wait_until=-1)

    submit()
    sweeper.run()

    call = steps.call_of(first)
    assert call.state == "queued"
    assert 25 < (call.wait_until - clock.db_now()).total_seconds() <= 30


def test_reply_goes_to_the_process_where_the_new_caller_waits(acme: make.Customer):
    job = steps.open_job(acme)
    first = steps.ask(acme, job, reply_to="web-1")
    leave(first)

    steps.ask(acme, job, reply_to="web-2")

    assert steps.call_of(first).reply_to == "web-2"


def test_attached_caller_that_leaves_again_leaves_the_call_to_be_attached_again(submit: Submit):
    first = submit()
    leave(first)
    submit()
    leave(first)

    assert submit().call_id == first.call_id


# --- With a key ---------------------------------------------------------------------------------------------


def test_key_used_again_names_the_first_call_while_it_is_open(submit: Submit):
    first = submit(idempotent=key())

    again = submit(idempotent=key())

    assert (str(again.call_id), str(again.job_id)) == (str(first.call_id), str(first.job_id))
    assert (again.is_new, again.is_replay) == (False, True)
    assert Call.objects.count() == 1


def test_key_used_again_names_the_first_call_when_it_was_answered(submit: Submit):
    first = submit(idempotent=key())
    steps.run(first)

    again = submit(idempotent=key())

    assert str(again.call_id) == str(first.call_id)
    assert steps.call_of(again).state == "succeeded"


def test_key_used_again_names_the_first_call_when_it_failed(submit: Submit, monkeypatch: pytest.MonkeyPatch):
    from apps.jobs.gateway.interface import GatewayError

    def fail(_: Any) -> Any:
        raise GatewayError("provider_error", "it broke", status=500)

    steps.take_route(monkeypatch, fail)
    first = submit(idempotent=key())
    steps.run(first)

    again = submit(idempotent=key())

    assert again.is_replay
    assert steps.call_of(again).state == "failed"
    assert Call.objects.count() == 1


def test_call_of_a_repeated_key_does_not_expire_while_it_is_waited_for(submit: Submit):
    first = submit(idempotent=key())
    steps.at(steps.call_of(first), wait_until=-1)

    submit(idempotent=key())
    sweeper.run()

    assert steps.call_of(first).state == "queued"


def test_shorter_wait_takes_nothing_from_a_longer_one(acme: make.Customer):
    job = steps.open_job(acme)
    first = steps.ask(acme, job, idempotent=key(), wait_s=600)
    before = steps.call_of(first).wait_until

    steps.ask(acme, job, idempotent=key(), wait_s=1)

    assert steps.call_of(first).wait_until == before


def test_key_with_another_body_is_a_conflict(submit: Submit):
    submit(idempotent=key())
    jobs = Job.objects.count()

    with pytest.raises(IdempotencyConflict):
        submit(idempotent=key(fingerprint="other"))

    assert (Call.objects.count(), Job.objects.count()) == (1, jobs)


def test_key_of_another_team_is_another_key(submit: Submit, globex: make.Customer):
    submit(idempotent=key())

    assert steps.create_and_call(globex, idempotent=key(scope="team:globex")).is_new


def test_refused_request_leaves_its_key_unused(db: None):
    make.platform_model()
    poor = make.customer(team_id="poor", credits=0)
    with pytest.raises(InsufficientCredits):
        steps.create_and_call(poor, idempotent=key(scope="team:poor"))
    from apps.provisioning import credits as provisioning

    provisioning.set_allocation(poor.team, credits=5, actor=make.TESTER, key="more")

    assert steps.create_and_call(poor, idempotent=key(scope="team:poor")).is_new


def test_request_with_a_key_attaches_to_nothing_but_its_own_first(submit: Submit):
    leave(submit())

    assert submit(idempotent=key()).is_new


def test_job_opened_with_a_key_is_opened_once(acme: make.Customer):
    principal, new = acme.principal, services.NewJob("query")

    first, was_replay = services.open_job(principal, new, idempotent=key())
    second, is_replay = services.open_job(principal, new, idempotent=key())

    assert (first.pk, was_replay, is_replay) == (second.pk, False, True)
    assert Job.objects.count() == 1


def test_completion_with_a_key_is_a_replay_the_second_time(acme: make.Customer):
    job = steps.open_job(acme)
    replays = [
        services.complete_job(acme.team, job_id=str(job.pk), verdict="completed", closed_by="test", idempotent=key())[
            1
        ]
        for _ in range(2)
    ]

    assert replays == [False, True]
