"""B14: automatic top-ups that cannot run away."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from apps.core.models import Event
from apps.jobs import sweeper
from apps.payments import attempts, charging, packs, topups
from apps.payments.errors import PaymentMethodMissing
from apps.payments.models import Checkout, Payment, SavedMethod, TopUp, TopUpAttempt
from tests import make
from tests.api.calling import located
from tests.credits import books, racing
from tests.payments.conftest import differences, post
from tests.payments.stripe_server import recorded

pytestmark = pytest.mark.django_db
URL = "/api/credits/teams/acme/top-up"


def consent(team: Any, pack: Any, *, threshold: int = 200, ceiling: int = 5000) -> TopUp:
    return topups.configure(
        team,
        threshold_micros=threshold * books.CREDIT,
        pack=pack,
        monthly_ceiling_minor=ceiling,
        return_url="https://app.example.com/back",
        actor=make.TESTER,
    )


@pytest.fixture
def low(stripe: Any, acme: make.Customer, pack: Any) -> Any:
    """Acme's team: 100 credits, a consent to top up below 200, twice a month at most."""
    SavedMethod.objects.create(team=acme.team, provider="stripe", customer_id="cus_1", method_id="pm_1")
    consent(acme.team, pack)
    return acme.team


def attempt() -> TopUpAttempt:
    return TopUpAttempt.objects.latest("id")


def webhook(name: str, which: TopUpAttempt, **changes: Any) -> str:
    changes.setdefault("id", which.provider_payment_id or "pi_topup_1")
    body = recorded(name, event_id=f"evt_{name}_{which.pk}", metadata={"attempt_id": str(which.pk)}, **changes)
    return str(post(body).json()["outcome"])


def rest_is_over() -> None:
    TopUp.objects.update(next_attempt_at=F("next_attempt_at") - timedelta(days=2))


def decline(stripe: Any, code: str = "card_declined", **error: Any) -> None:
    stripe.answers.append((402, {"error": {"type": "card_error", "code": code, **error}}))


def test_B14_low_team_is_charged_and_gets_credits_by_the_webhook_alone(low, stripe):
    assert topups.open_due() == 1
    assert charging.submit_due() == 1

    charged = attempt()
    assert (charged.state, charged.provider_payment_id) == ("pending", "pi_topup_1")
    assert books.figures(low)["posted"] == 100
    (asked,) = stripe.asked
    assert (asked.path, asked.headers["Idempotency-Key"]) == ("/v1/payment_intents", f"top-up:{charged.pk}")
    assert (asked.form["amount"], asked.form["currency"], asked.form["off_session"]) == ("2500", "usd", "true")
    assert (asked.form["customer"], asked.form["payment_method"]) == ("cus_1", "pm_1")

    assert webhook("payment_intent.succeeded", charged) == "applied"

    assert books.figures(low)["posted"] == 350
    assert (attempt().state, Payment.objects.get().attempt_id) == ("succeeded", charged.pk)
    assert topups.open_due() == 0
    assert differences() == []


def test_B14_nobody_is_topped_up_who_did_not_ask(stripe, acme, globex, pack):
    SavedMethod.objects.create(team=acme.team, provider="stripe", customer_id="cus_1", method_id="pm_1")

    assert topups.open_due() == 0


def test_B14_one_attempt_is_open_at_a_time(low, stripe):
    assert topups.open_due() == 1
    assert topups.open_due() == 0
    charging.submit_due()
    assert (topups.open_due(), charging.submit_due()) == (0, 0)

    with pytest.raises(IntegrityError), transaction.atomic():
        TopUpAttempt.objects.create(
            team=low, organization=low.organization, credits=1, amount_minor=1, currency="USD"
        )
    assert len(stripe.asked) == 1


def test_B14_monthly_ceiling_holds(low, stripe):
    for number in (1, 2):
        assert topups.open_due() == 1
        charging.submit_due()
        webhook("payment_intent.succeeded", attempt())
        books.spend(low, 300 - 50 * number, job=f"job-{number}")

    assert topups.open_due() == 0

    assert TopUpAttempt.objects.count() == 2
    assert TopUp.objects.get().next_attempt_at.day == 1
    assert Event.objects.filter(kind="top_up.ceiling_reached").count() == 1
    TopUpAttempt.objects.update(created_at=F("created_at") - timedelta(days=40))
    assert topups.open_due() == 0
    consent(low, packs.find(str(TopUp.objects.get().pack_id)))
    assert topups.open_due() == 1


def test_B14_open_attempts_count_against_the_ceiling(low, pack):
    top_up = consent(low, pack, ceiling=2500)
    topups.open_due()

    assert topups.spent_in_month(top_up, attempt().created_at) == 2500
    attempts.fail(attempt(), "card_declined")
    assert topups.spent_in_month(top_up, attempt().created_at) == 0


def test_month_is_the_calendars(low):
    assert topups._next_month(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert topups._next_month(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 2, 1, tzinfo=UTC)


def test_team_with_enough_is_left_alone(low, pack):
    consent(low, pack, threshold=100)

    assert topups.open_due() == 0
    books.hold(low, 1, job="held")
    assert topups.open_due() == 1


@pytest.mark.parametrize("status", ["suspended", "paused"])
def test_team_that_does_not_work_is_left_alone(low, status):
    type(low).objects.update(status=status)

    assert topups.open_due() == 0


# --- Declines ----------------------------------------------------------------------------------------------


def test_B14_decline_rests_a_day_and_three_switch_it_off(low, stripe):
    for number in (1, 2, 3):
        decline(stripe, decline_code="insufficient_funds")
        assert topups.open_due() == 1
        charging.submit_due()
        assert (attempt().state, attempt().error_code) == ("failed", "insufficient_funds")
        assert topups.open_due() == 0
        assert TopUp.objects.get().declines == number
        rest_is_over()

    found = TopUp.objects.get()
    assert (found.is_enabled, found.disabled_reason) == (False, "declined")
    assert topups.open_due() == 0
    assert (len(stripe.asked), books.figures(low)["posted"]) == (3, 100)


def test_decline_told_by_the_webhook_too_counts_once(low, stripe):
    decline(stripe)
    topups.open_due()
    charging.submit_due()

    webhook("payment_intent.payment_failed", attempt())

    assert TopUp.objects.get().declines == 1


def test_success_forgets_declines(low, stripe):
    decline(stripe)
    topups.open_due()
    charging.submit_due()
    rest_is_over()
    topups.open_due()
    charging.submit_due()

    webhook("payment_intent.succeeded", attempt())

    assert TopUp.objects.get().declines == 0


def test_payment_after_all_gives_its_credits(low, stripe):
    topups.open_due()
    charging.submit_due()
    webhook("payment_intent.payment_failed", attempt())
    assert attempt().state == "failed"

    webhook("payment_intent.succeeded", attempt())

    assert (attempt().state, books.figures(low)["posted"]) == ("succeeded", 350)


def test_other_amount_is_flagged_and_closes_the_attempt(low, stripe):
    topups.open_due()
    charging.submit_due()

    assert webhook("payment_intent.succeeded", attempt(), amount_received=1) == "flagged"

    assert (attempt().state, attempt().error_code, books.figures(low)["posted"]) == ("failed", "flagged", 100)


# --- Confirmation by the customer --------------------------------------------------------------------------


def needs_person(stripe: Any) -> None:
    decline(stripe, "authentication_required", payment_intent={"id": "pi_sca"})


def test_B14_payment_to_be_confirmed_is_a_page_for_the_customer(low, stripe, team_key):
    needs_person(stripe)
    topups.open_due()
    charging.submit_due()

    (shown,) = team_key.get(URL).json()["attempts"]
    assert (shown["state"], shown["error_code"]) == ("requires_action", "authentication_required")
    assert shown["action_url"] == "https://checkout.stripe.com/c/pay/cs_test_2"
    assert topups.open_due() == 0
    page = stripe.asked[1]
    assert page.form["metadata[attempt_id]"] == shown["attempt_id"]
    assert page.form["customer"] == "cus_1"

    checkout = Checkout.objects.get()
    metadata = {"checkout_id": str(checkout.pk), "attempt_id": shown["attempt_id"]}
    post(recorded("checkout.session.completed", id="cs_test_2", metadata=metadata))

    assert (attempt().state, books.figures(low)["posted"]) == ("succeeded", 350)
    assert differences() == []


def test_page_that_was_not_made_is_made_by_the_next_sweep(low, stripe):
    needs_person(stripe)
    stripe.answers.append((500, {}))
    topups.open_due()
    charging.submit_due()
    assert (attempt().state, attempt().action_url) == ("requires_action", "")
    TopUpAttempt.objects.update(next_try_at=F("created_at"))

    charging.submit_due()

    assert attempt().action_url.startswith("https://checkout.stripe.com/")
    assert Checkout.objects.count() == 1


def test_page_that_nobody_used_ends_the_attempt(low, stripe):
    needs_person(stripe)
    topups.open_due()
    charging.submit_due()
    checkout = Checkout.objects.get()
    metadata = {"checkout_id": str(checkout.pk), "attempt_id": str(attempt().pk)}

    post(recorded("checkout.session.expired", id="cs_test_2", metadata=metadata))

    assert (attempt().state, attempt().error_code) == ("failed", "expired")
    assert Checkout.objects.get().state == "expired"


def test_action_that_nobody_took_is_given_up_even_without_a_webhook(low, stripe):
    needs_person(stripe)
    topups.open_due()
    charging.submit_due()
    TopUpAttempt.objects.update(created_at=F("created_at") - timedelta(hours=49))

    charging.give_up()

    assert (attempt().state, attempt().error_code) == ("failed", "not_confirmed")


# --- Crashes and silence -----------------------------------------------------------------------------------


def test_B14_crash_between_row_and_charge_is_resumed_under_the_same_key(low, stripe):
    topups.open_due()
    stripe.answers.append((503, {}))
    charging.submit_due()
    assert (attempt().state, attempt().tries) == ("pending", 1)
    assert charging.submit_due() == 0
    TopUpAttempt.objects.update(next_try_at=F("created_at"))

    charging.submit_due()

    assert [asked.headers["Idempotency-Key"] for asked in stripe.asked] == [f"top-up:{attempt().pk}"] * 2
    assert attempt().provider_payment_id == "pi_topup_1"


def test_charge_that_was_never_answered_is_not_made_anew(low, stripe):
    topups.open_due()
    stripe.answers.append((503, {}))
    charging.submit_due()
    TopUpAttempt.objects.update(created_at=F("created_at") - timedelta(hours=21), next_try_at=F("created_at"))

    assert charging.submit_due() == 0
    charging.give_up()

    found = TopUp.objects.get()
    assert (attempt().state, attempt().error_code, len(stripe.asked)) == ("failed", "outcome_unknown", 1)
    assert (found.is_enabled, found.disabled_reason) == (False, "outcome_unknown")
    TopUpAttempt.objects.update(created_at=found.created_at)
    assert topups.spent_in_month(found, found.created_at) == 2500


def test_webhook_that_is_faster_than_the_answer(low, stripe, monkeypatch):
    topups.open_due()
    which = attempt()
    note = charging._note

    def late(attempt, result):
        assert webhook("payment_intent.succeeded", which, id="pi_topup_1") == "applied"
        note(attempt, result)

    monkeypatch.setattr(charging, "_note", late)
    charging.submit_due()

    assert (attempt().state, books.figures(low)["posted"]) == ("succeeded", 350)


def test_changed_pack_is_not_charged_without_a_new_consent(low, stripe, pack):
    type(pack).objects.update(amount_minor=9900)

    assert topups.open_due() == 0

    found = TopUp.objects.get()
    assert (found.is_enabled, found.disabled_reason) == (False, "pack_changed")


def test_consent_that_was_withdrawn_is_not_charged(low, stripe):
    topups.open_due()
    topups.switch_off(low, actor=make.TESTER)

    charging.submit_due()

    assert (attempt().state, attempt().error_code, stripe.asked) == ("failed", "switched_off", [])


def test_attempt_that_was_never_asked_for_is_not_charged_days_later(low, stripe):
    topups.open_due()
    TopUpAttempt.objects.update(created_at=F("created_at") - timedelta(hours=21))

    assert charging.submit_due() == 0
    charging.give_up()

    assert (attempt().error_code, TopUp.objects.get().is_enabled, stripe.asked) == ("not_charged", True, [])


def test_lost_method_switches_it_off(low, stripe):
    SavedMethod.objects.all().delete()
    topups.open_due()
    charging.submit_due()

    assert (attempt().error_code, TopUp.objects.get().is_enabled) == ("payment_method_missing", False)
    assert stripe.asked == []


def test_sweeper_asks_for_nothing_without_configuration(low, settings, django_assert_num_queries):
    settings.STRIPE_SECRET_KEY = ""
    with django_assert_num_queries(0):
        charging.give_up()
        assert topups.open_due() == 0
        charging.submit_in_background()


@pytest.mark.django_db(transaction=True)
def test_sweeper_begins_top_ups_and_does_not_wait_for_the_provider(low, stripe, monkeypatch):
    begun = []
    monkeypatch.setattr(charging, "submit_due", lambda: begun.append("in its own thread"))

    assert sweeper.run().topped_up == 1
    with charging._submitting:
        assert begun == ["in its own thread"]


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_B14_two_sweeps_at_once_make_one_attempt_and_one_charge(low, stripe):
    assert sum(racing.at_once([topups.open_due] * 6)) == 1
    assert sum(racing.at_once([charging.submit_due] * 6)) == 1
    assert (TopUpAttempt.objects.count(), len(stripe.asked)) == (1, 1)


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_sweep_that_waits_for_a_webhook_sees_its_credits(low, stripe):
    topups.open_due()
    charging.submit_due()
    which = attempt()

    racing.at_once([lambda: webhook("payment_intent.succeeded", which), *[topups.open_due] * 4])

    assert books.figures(low)["posted"] == 350
    assert TopUpAttempt.objects.count() == 1


# --- Over HTTP ---------------------------------------------------------------------------------------------


@pytest.fixture
def body(pack: Any) -> dict[str, Any]:
    return {
        "enabled": True,
        "threshold_credits": 200,
        "pack_id": str(pack.pk),
        "monthly_ceiling": 5000,
        "return_url": "https://app.example.com/back",
    }


def test_consent_is_kept_with_who_gave_it(low, team_key, body):
    shown = team_key.put(URL, body).json()

    assert (shown["enabled"], shown["threshold_credits"], shown["amount"]) == (True, 200, 2500)
    assert (shown["monthly_ceiling"], shown["spent_this_month"]) == (5000, 0)
    assert shown["consented_by"].startswith("key:")
    off = team_key.put(URL, {"enabled": False}).json()
    assert (off["enabled"], off["threshold_credits"]) == (False, 200)
    assert topups.open_due() == 0


def test_consent_needs_a_saved_method_and_a_ceiling(acme, stripe, team_key, body):
    assert team_key.put(URL, body).json()["code"] == PaymentMethodMissing.code
    SavedMethod.objects.create(team=acme.team, provider="stripe", customer_id="cus_1", method_id="pm_1")
    assert located(team_key.put(URL, body | {"monthly_ceiling": 2499})) == [["body", "monthly_ceiling"]]
    for name in ("threshold_credits", "pack_id", "monthly_ceiling", "return_url"):
        without = {key: value for key, value in body.items() if key != name}
        assert located(team_key.put(URL, without)) == [["body", name]]
    assert TopUp.objects.count() == 0


def test_team_that_never_asked_is_shown_so(acme, team_key, stranger):
    assert team_key.get(URL).json() == {"team_id": "acme", "enabled": False, "total_attempts": 0, "attempts": []}
    assert team_key.put(URL, {"enabled": False}).json()["enabled"] is False
    assert stranger.get(URL).status_code == 403
    assert stranger.put(URL, {"enabled": False}).status_code == 403
