"""Admission of calls: what is checked, held and queued, and that a refusal leaves nothing but its record."""

from typing import Any

import orjson
import pytest

from apps.catalog import model_groups
from apps.catalog.errors import ModelNotAllowed, NoModelAvailable
from apps.catalog.models import ModelAlias
from apps.core import clock
from apps.core.errors import InvalidField
from apps.core.models import Event
from apps.credits import billing
from apps.credits.errors import InsufficientCredits, PricesMissing
from apps.credits.models import Entry, Hold
from apps.jobs import services
from apps.jobs.errors import JobClosed, JobNotFound, TooManyCalls
from apps.jobs.models import Call, CallPayload, Job
from apps.organizations import services as organizations
from apps.teams import services as teams
from apps.teams.errors import TeamNotActive
from tests import make
from tests.jobs import steps

MICROS = 1_000_000


@pytest.fixture
def metered(db: None) -> make.Customer:
    """Metered in USD at 10 credits a dollar, with a priced model of its own."""
    make.alias("priced", input_usd_per_mtok=1_000, output_usd_per_mtok=2_000, default_output_tokens=1_000)
    return make.metered_customer(team_id="metered", credits=1_000, access_groups=["priced"])


def refused(customer: make.Customer, job: Job, kind: type[Exception], **more: Any) -> Exception:
    """The refusal, which left nothing but its record."""
    before = Job.objects.filter(pk=job.pk).values().get()
    calls, holds, payloads = Call.objects.count(), list(Hold.objects.values()), CallPayload.objects.count()
    balance = steps.balance(customer)
    events = Event.objects.count()
    with pytest.raises(kind) as caught:
        steps.ask(customer, job, **more)
    assert Job.objects.filter(pk=job.pk).values().get() == before
    assert (Call.objects.count(), list(Hold.objects.values()), CallPayload.objects.count()) == (
        calls,
        holds,
        payloads,
    )
    assert steps.balance(customer) == balance
    (event,) = Event.objects.order_by("-created_at", "-id")[: Event.objects.count() - events]
    assert (event.kind, event.subject, event.team_id) == (
        "call.refused",
        f"job:{job.pk}",
        customer.team.team_id,
    )
    assert event.data["code"] == caught.value.code  # type: ignore[attr-defined]
    return caught.value


# --- What an admitted call is -------------------------------------------------------------------------------


def test_admitted_call_is_queued_with_its_payload_beside_it(acme: make.Customer):
    job = steps.open_job(acme)

    submitted = steps.ask(
        acme, job, "Hi", purpose="greeting", parameters={"temperature": 0.1}, reply_to="web-1", fingerprint="f" * 64
    )

    call = steps.call_of(submitted)
    assert submitted.is_new
    assert (call.state, call.claim, call.purpose, call.reply_to) == ("queued", 0, "greeting", "web-1")
    assert (call.team_id, call.organization_id) == (acme.team.pk, acme.organization.pk)
    assert (call.fingerprint, call.completes_job, call.unanswered_at) == ("f" * 64, False, None)
    assert orjson.loads(call.payload.request) == {
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.1,
    }
    assert call.payload.expires_at is None


def test_first_call_starts_the_job(acme: make.Customer):
    job = steps.open_job(acme)
    assert (job.status, job.started_at, job.terms) == ("pending", None, None)

    job = steps.job_of(steps.ask(acme, job))

    assert (job.status, job.open_calls, job.total_calls) == ("in_progress", 1, 1)
    assert job.started_at is not None
    assert job.model_groups_used == ["chat-default"]


def test_instants_of_a_call_are_set_by_the_database_s_clock(acme: make.Customer, settings: Any):
    settings.CALL_DEADLINE_S, settings.REPUBLISH_AFTER_S = 600, 3

    call = steps.call_of(steps.ask(acme, steps.open_job(acme), wait_s=28))

    now = clock.db_now()
    assert 595 < (call.deadline_at - now).total_seconds() <= 600
    assert 25 < (call.wait_until - now).total_seconds() <= 30
    assert 0 < (call.next_publish_at - now).total_seconds() <= 3


def test_name_asked_for_is_listed_once(acme: make.Customer):
    make.alias("other", is_open=True)
    job = steps.open_job(acme)
    for index, model in enumerate(["other", None, "other"]):
        steps.ask(acme, job, str(index), model=model)

    job.refresh_from_db()
    assert job.model_groups_used == ["other", "chat-default"]


def test_call_keeps_three_names_and_the_price_of_its_admission(metered: make.Customer):
    job = steps.open_job(metered)
    submitted = steps.ask(metered, job, model="priced")
    ModelAlias.objects.filter(name="priced").update(input_nanousd_per_mtok=1, provider_model="elsewhere")

    call = steps.call_of(submitted)

    assert (call.model_group_used, call.model_used, call.provider_model) == ("priced", "priced", "provider/priced")
    assert (call.input_nanousd_per_mtok, call.output_nanousd_per_mtok) == (1_000 * 10**9, 2_000 * 10**9)


# --- Terms and holds ----------------------------------------------------------------------------------------


def test_pricing_is_frozen_at_the_first_call(acme: make.Customer):
    job = steps.open_job(acme)
    steps.ask(acme, job)
    billing.change_plan(acme.team, actor=make.TESTER, budget_mode="consumption_tokens", tokens_per_credit=700)

    steps.ask(acme, job, "another")

    assert steps.terms_of(job).mode == "flat"


def test_plan_changed_before_the_first_call_applies(acme: make.Customer):
    job = steps.open_job(acme)
    billing.change_plan(acme.team, actor=make.TESTER, budget_mode="consumption_tokens", tokens_per_credit=700)

    steps.ask(acme, job)

    terms = steps.terms_of(job)
    assert (terms.mode, terms.tokens_per_credit) == ("metered_tokens", 700)


def test_flat_job_holds_its_price_once_however_many_calls(acme: make.Customer):
    job = steps.open_job(acme)
    for text in ("one", "two", "three"):
        steps.ask(acme, job, text)

    assert steps.money(acme) == (100, 1)
    assert Hold.objects.get().amount_micros == steps.fresh(job).held_micros == MICROS


def test_flat_call_leaves_the_length_to_the_model(acme: make.Customer):
    assert steps.call_of(steps.ask(acme, steps.open_job(acme))).max_output_tokens is None


def test_metered_call_is_capped_by_the_model_s_default(metered: make.Customer):
    call = steps.call_of(steps.ask(metered, steps.open_job(metered)))

    assert (call.max_output_tokens, call.bound_output_tokens) == (1_000, 1_000)


def test_caller_s_own_cap_and_number_bound_a_call(metered: make.Customer):
    parameters = {"max_tokens": 50, "n": 3}

    call = steps.call_of(steps.ask(metered, steps.open_job(metered), parameters=parameters))

    assert (call.max_output_tokens, call.bound_output_tokens) == (50, 150)


def test_metered_hold_grows_by_each_open_call_s_bound(metered: make.Customer):
    job = steps.open_job(metered)
    held = []
    for text in ("one", "two"):
        steps.ask(metered, job, text)
        held.append(steps.fresh(job).held_micros)

    calls = list(Call.objects.filter(job=job))
    bounds = [call.bound_nanousd for call in calls]
    # 10 credits a dollar: a hundredth of a nano-dollar is a micro; rounded down to whole credits.
    assert held == [bounds[0] // 100 // MICROS * MICROS, sum(bounds) // 100 // MICROS * MICROS]
    assert held[1] > held[0] >= 20 * MICROS
    assert steps.fresh(job).open_bound_nanousd == sum(bounds)
    assert steps.money(metered) == (1_000, held[1] / MICROS)


def test_metered_hold_is_at_least_the_minimum(db: None):
    make.alias("cheap", input_usd_per_mtok=0, output_usd_per_mtok=0)
    customer = make.metered_customer(credits=5, access_groups=["cheap"])
    job = steps.open_job(customer)

    steps.ask(customer, job)

    assert steps.money(customer) == (5, 1)


def test_job_metered_in_tokens_holds_by_tokens(db: None):
    make.platform_model()
    customer = make.customer(credits=100, budget_mode="consumption_tokens", tokens_per_credit=1_000)
    job = steps.open_job(customer)

    steps.ask(customer, job, parameters={"max_tokens": 10_000})

    held = steps.fresh(job).held_micros
    assert held == steps.fresh(job).open_bound_tokens // 1_000 * MICROS
    assert held >= 10 * MICROS


def test_model_without_prices_is_refused_for_jobs_metered_in_usd(metered: make.Customer):
    make.platform_model("unpriced")
    job = steps.open_job(metered)

    error = refused(metered, job, PricesMissing, model="unpriced")

    assert error.code == "prices_missing"  # type: ignore[attr-defined]


def test_model_without_prices_will_do_for_flat_jobs(acme: make.Customer):
    assert steps.ask(acme, steps.open_job(acme)).is_new


# --- Refusals -----------------------------------------------------------------------------------------------


def test_short_credits_are_refused_in_the_contract_s_words(db: None):
    make.platform_model()
    poor = make.customer(credits=1)
    steps.ask(poor, steps.open_job(poor))
    job = steps.open_job(poor)

    error = refused(poor, job, InsufficientCredits)

    assert str(error) == "Insufficient credits. Team has 0 credits remaining, but 1 required. Allocated: 1, Used: 0"


def test_metered_call_beyond_the_balance_leaves_the_hold_of_the_others(metered: make.Customer):
    job = steps.open_job(metered)
    steps.ask(metered, job, "one")

    refused(metered, job, InsufficientCredits, text="two", parameters={"max_tokens": 1_000_000})


def test_exactly_the_balance_is_enough(db: None):
    make.platform_model()
    customer = make.customer(credits=1)

    assert steps.ask(customer, steps.open_job(customer)).is_new
    assert steps.money(customer) == (1, 1)


@pytest.mark.parametrize("verdict", ["completed", "failed"])
def test_closed_job_takes_no_more_calls(acme: make.Customer, verdict: str):
    job = steps.open_job(acme)
    steps.complete(acme, job, verdict)

    error = refused(acme, job, JobClosed)

    assert str(error) == f"Job is already {verdict}"


def test_job_has_at_most_so_many_calls(acme: make.Customer, settings: Any):
    settings.CALLS_PER_JOB_MAX = 2
    job = steps.open_job(acme)
    steps.run(steps.ask(acme, job, "one"))
    steps.ask(acme, job, "two")

    refused(acme, job, TooManyCalls, text="three")


@pytest.mark.parametrize("status", ["suspended", "paused", "closed"])
def test_team_s_state_is_read_again_inside_admission(acme: make.Customer, status: str):
    job = steps.open_job(acme)
    principal = acme.principal
    teams.set_status(acme.team, status=status, actor=make.TESTER)

    with pytest.raises(TeamNotActive) as caught:
        services.submit_call(principal, steps.request_for(), job_id=str(job.pk), wait_s=28, reply_to="")

    assert principal.team.status == "active"
    assert str(caught.value) == f"Team access is {status}. Please contact support."
    assert Call.objects.count() == Hold.objects.count() == 0


def test_organization_s_state_is_read_again_inside_admission(acme: make.Customer):
    job = steps.open_job(acme)
    principal = acme.principal
    organizations.set_status(acme.organization, status="suspended", actor=make.TESTER)

    with pytest.raises(TeamNotActive) as caught:
        services.submit_call(principal, steps.request_for(), job_id=str(job.pk), wait_s=28, reply_to="")

    assert principal.organization.status == "active"
    assert str(caught.value) == "Team access is suspended. Please contact support."
    assert Call.objects.count() == 0


def test_job_is_not_opened_for_a_team_suspended_since_it_was_authenticated(acme: make.Customer):
    principal = acme.principal
    teams.set_status(acme.team, status="suspended", actor=make.TESTER)

    with pytest.raises(TeamNotActive):
        services.open_job(principal, services.NewJob("query"))

    assert Job.objects.count() == 0


def test_suspended_team_still_completes(acme: make.Customer):
    job = steps.open_job(acme)
    steps.run(steps.ask(acme, job))
    teams.set_status(acme.team, status="suspended", actor=make.TESTER)

    assert steps.complete(acme, job).charge_state == "charged"


@pytest.mark.parametrize("job_id", ["nonsense", "", "00000000-0000-0000-0000-000000000000", "1' OR '1'='1"])
def test_unknown_job_is_not_found(acme: make.Customer, job_id: str):
    with pytest.raises(JobNotFound, match=r"^Job not found$"):
        steps.ask(acme, job_id)


def test_foreign_job_answers_like_an_unknown_one(acme: make.Customer, globex: make.Customer):
    job = steps.open_job(acme)

    for attempt in (
        lambda: steps.ask(globex, job),
        lambda: steps.complete(globex, job),
        lambda: services.find_job(globex.team, str(job.pk)),
        lambda: services.merge_metadata(globex.team, job_id=str(job.pk), metadata={"a": 1}),
    ):
        with pytest.raises(JobNotFound, match=r"^Job not found$"):
            attempt()
    assert steps.fresh(job).status == "pending"
    assert Call.objects.count() == 0


def test_foreign_call_answers_like_an_unknown_one(acme: make.Customer, globex: make.Customer):
    submitted = steps.ask(acme, steps.open_job(acme))

    with pytest.raises(services.CallNotFound):
        services.find_call(globex.team, str(submitted.job_id), str(submitted.call_id))


def test_call_is_found_under_its_own_job_alone(acme: make.Customer):
    submitted = steps.ask(acme, steps.open_job(acme))
    other = steps.open_job(acme)

    with pytest.raises(services.CallNotFound):
        services.find_call(acme.team, str(other.pk), str(submitted.call_id))


# --- Which model --------------------------------------------------------------------------------------------


def test_unknown_model_is_refused(acme: make.Customer):
    error = refused(acme, steps.open_job(acme), ModelNotAllowed, model="gpt-17")

    assert str(error) == "Team 'acme' does not have access to model group 'gpt-17'"


def test_team_without_any_model_is_told_so(db: None):
    customer = make.customer(team_id="bare")

    error = refused(customer, steps.open_job(customer), NoModelAvailable)

    assert str(error) == "No model available for team 'bare'"


def test_key_s_own_list_of_models_binds_its_calls(acme: make.Customer):
    from apps.virtual_keys import services as virtual_keys

    make.alias("other", is_open=True)
    _, secret = virtual_keys.issue(acme.team, actor=make.TESTER, models_allowed=["other"])
    bound = make.Customer(acme.organization, acme.team, secret)
    job = steps.open_job(acme)

    refused(bound, job, ModelNotAllowed, model="chat-default")
    assert steps.call_of(steps.ask(bound, job)).model_group_used == "other"


# --- call_metadata ------------------------------------------------------------------------------------------


def test_call_metadata_is_merged_after_a_success(acme: make.Customer):
    job = steps.open_job(acme, metadata={"a": 1, "b": 1})
    submitted = steps.ask(acme, job, call_metadata={"b": 2, "c": 3})
    assert steps.fresh(job).metadata == {"a": 1, "b": 1}

    steps.run(submitted)

    assert steps.fresh(job).metadata == {"a": 1, "b": 2, "c": 3}
    assert steps.fresh(job).pending_metadata_bytes == 0


def test_call_metadata_past_the_limit_is_refused_at_admission(acme: make.Customer, settings: Any):
    settings.METADATA_MAX_BYTES = 100
    job = steps.open_job(acme, metadata={"a": "x" * 60})

    refused(acme, job, InvalidField, call_metadata={"b": "y" * 40})
    assert steps.ask(acme, job, call_metadata={"b": "y" * 20}).is_new


def test_call_metadata_that_only_fits_without_the_open_calls_is_refused(acme: make.Customer, settings: Any):
    settings.METADATA_MAX_BYTES = 100
    job = steps.open_job(acme)
    steps.ask(acme, job, "one", call_metadata={"a": "x" * 50})

    refused(acme, job, InvalidField, text="two", call_metadata={"b": "y" * 50})


def test_completing_and_merging_leave_room_for_open_calls(acme: make.Customer, settings: Any):
    settings.METADATA_MAX_BYTES = 100
    job = steps.open_job(acme)
    steps.ask(acme, job, "one", call_metadata={"a": "x" * 50})

    with pytest.raises(InvalidField):
        services.merge_metadata(acme.team, job_id=str(job.pk), metadata={"b": "y" * 50})
    with pytest.raises(InvalidField):
        steps.complete(acme, job, metadata={"b": "y" * 50})
    assert steps.fresh(job).status == "in_progress"


def test_failed_call_gives_its_metadata_s_room_back(acme: make.Customer, provider: Any):
    make.alias("failing", route="litellm", provider_model="fake-500", is_open=True)
    job = steps.open_job(acme)

    steps.run(steps.ask(acme, job, model="failing", call_metadata={"a": 1}))

    assert (steps.fresh(job).pending_metadata_bytes, steps.fresh(job).metadata) == (0, {})


def test_job_metadata_past_the_limit_opens_nothing(acme: make.Customer, settings: Any):
    settings.METADATA_MAX_BYTES = 50
    for attempt in (steps.open_job, steps.create_and_call):
        with pytest.raises(InvalidField):
            attempt(acme, metadata={"a": "x" * 60})

    assert Job.objects.count() == 0


# --- One job, one call --------------------------------------------------------------------------------------


def test_refused_one_call_job_is_left_failed_and_says_why(db: None):
    make.platform_model()
    poor = make.customer(team_id="poor", credits=0)

    with pytest.raises(InsufficientCredits) as caught:
        steps.create_and_call(poor)

    job = Job.objects.get()
    assert (job.status, job.charge_state, job.total_calls, job.closed_by) == ("failed", "free", 0, "admission")
    assert job.error_message == caught.value.message
    assert (Call.objects.count(), Hold.objects.count(), Entry.objects.count()) == (0, 0, 0)
    event = Event.objects.get(kind="call.refused")
    assert (event.subject, event.data["code"]) == (f"job:{job.pk}", "insufficient_credits")


def test_one_call_job_is_charged_when_its_call_succeeds(acme: make.Customer):
    submitted = steps.create_and_call(acme)
    assert steps.job_of(submitted).status == "in_progress"

    steps.run(submitted)

    job = steps.job_of(submitted)
    assert (job.status, job.charge_state, job.closed_by, job.error_message) == ("completed", "charged", "call", "")
    assert steps.money(acme) == (99, 0)


def test_call_that_its_model_cannot_answer_is_refused_before_anything_is_held(acme: make.Customer):
    make.alias("small", max_output_tokens=100, supports_vision=False, is_open=True)
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    job = steps.open_job(acme)

    error = refused(acme, job, InvalidField, model="small", parameters={"max_tokens": 101})
    assert "at most 100 tokens" in str(error)
    refused(acme, job, InvalidField, model="small", parameters={"messages": [{"role": "user", "content": [picture]}]})
    assert steps.ask(acme, job, model="small", parameters={"max_tokens": 100}).is_new


def test_metered_call_is_held_for_at_the_price_of_its_dearest_model(db: None):
    make.alias("cheap", input_usd_per_mtok=1, output_usd_per_mtok=1)
    make.alias("dear", input_usd_per_mtok=1_000, output_usd_per_mtok=1_000)
    members = [model_groups.Member("cheap", 0), model_groups.Member("dear", 1)]
    model_groups.create("both", members=members, actor=make.TESTER)
    customer = make.metered_customer(credits=10_000, model_groups=["both"])

    steps.ask(customer, steps.open_job(customer), model="both", parameters={"max_tokens": 10_000})

    # Ten thousand tokens at a thousand dollars a million are ten dollars, a hundred credits.
    assert steps.money(customer)[1] >= 100
