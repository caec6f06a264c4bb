"""Replenishing, automatic refills, grants dated ahead and vouchers over HTTP."""

from datetime import timedelta

import pytest

from apps.core import clock
from apps.credits import allowances
from apps.credits.models import Entry, Grant
from tests.api.calling import located

TEAM = "/api/credits/teams/acme"


def ahead(days: int) -> str:
    return (clock.now() + timedelta(days=days)).isoformat()


# --- Replenish ---------------------------------------------------------------------------------------------


def test_subscription_payment_is_granted_and_noted(acme, operator):
    answer = operator.post(
        f"{TEAM}/replenish",
        {"credits": 500, "payment_type": "subscription", "payment_amount_usd": 499, "reason": "Pro plan"},
    ).json()

    assert (answer["credits_added"], answer["credits_before"], answer["credits_after"]) == (500, 100, 600)
    assert (answer["payment_type"], answer["payment_amount_usd"]) == ("subscription", 499.0)
    assert answer["transaction"]["transaction_type"] == "subscription_payment"
    assert answer["transaction"]["reason"] == "Pro plan ($499.00 USD)"
    assert operator.get(f"{TEAM}/balance").json()["last_refill_at"] is not None
    lot = Grant.objects.get(kind="subscription")
    assert lot.price_nanousd_per_credit == 998_000_000


def test_one_time_payment(acme, operator):
    answer = operator.post(f"{TEAM}/replenish", {"credits": 5, "payment_type": "one_time"}).json()

    assert answer["transaction"]["transaction_type"] == "one_time_payment"
    assert answer["transaction"]["reason"] is None
    assert operator.get(f"{TEAM}/balance").json()["last_refill_at"] is None


def test_B7_a_payment_arrives_once(acme, globex, operator):
    body = {"credits": 5, "payment_type": "one_time", "payment_id": "pi_123"}

    first, again = (operator.post(f"{TEAM}/replenish", body) for _ in range(2))
    other_amount = operator.post(f"{TEAM}/replenish", body | {"credits": 6})
    other_team = operator.post("/api/credits/teams/globex/replenish", body)

    assert first.json()["transaction"] == again.json()["transaction"]
    assert (other_amount.status_code, other_team.status_code) == (422, 422)
    assert Entry.objects.filter(external_id="pi_123").count() == 1


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"credits": 0}, "credits must be a positive integer"),
        ({"credits": -1}, "credits must be a positive integer"),
        ({"payment_type": "barter"}, "payment_type must be 'subscription' or 'one_time'"),
    ],
)
def test_wrong_payment_is_refused(acme, operator, wrong, text):
    answer = operator.post(f"{TEAM}/replenish", {"credits": 5, "payment_type": "one_time"} | wrong)

    assert (answer.status_code, answer.json()["detail"]) == (400, text)


# --- Automatic refill --------------------------------------------------------------------------------------


def test_refill_is_configured_and_really_comes(acme, operator, team_key):
    on = operator.post(
        f"{TEAM}/configure-auto-refill", {"enabled": True, "refill_amount": 1000, "refill_period": "monthly"}
    ).json()

    assert on["message"] == "Auto-refill enabled successfully"
    assert (on["auto_refill_enabled"], on["refill_amount"], on["refill_period"]) == (True, 1000, "monthly")
    assert on["last_refill_at"] is None
    shown = team_key.get(f"{TEAM}/balance").json()
    assert (shown["auto_refill"], shown["refill_amount"], shown["refill_period"]) == (True, 1000, "monthly")

    again = operator.post(
        f"{TEAM}/configure-auto-refill",
        {"enabled": True, "refill_amount": 7, "refill_period": "daily", "rollover": False},
    ).json()
    assert again["refill_rolls_over"] is False


def test_refill_is_switched_off_and_keeps_its_settings(acme, operator):
    operator.post(f"{TEAM}/configure-auto-refill", {"enabled": True, "refill_amount": 9, "refill_period": "daily"})

    off = operator.post(f"{TEAM}/configure-auto-refill", {"enabled": False}).json()

    assert (off["auto_refill_enabled"], off["refill_amount"], off["refill_period"]) == (False, 9, "daily")
    assert off["message"] == "Auto-refill disabled successfully"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"enabled": True}, "refill_amount must be a positive integer when enabling auto-refill"),
        ({"enabled": True, "refill_amount": 5}, "refill_period must be specified when enabling auto-refill"),
        (
            {"enabled": True, "refill_amount": 5, "refill_period": "hourly"},
            "refill_period must be 'monthly', 'weekly', or 'daily'",
        ),
    ],
)
def test_wrong_refill_is_refused(acme, operator, body, text):
    answer = operator.post(f"{TEAM}/configure-auto-refill", body)

    assert (answer.status_code, answer.json()["detail"]) == (400, text)


def test_unknown_team(operator):
    answer = operator.post("/api/credits/teams/nobody/configure-auto-refill", {"enabled": False})

    assert answer.status_code == 404


# --- Grants dated ahead ------------------------------------------------------------------------------------


def test_grant_is_scheduled_listed_and_cancelled(acme, operator, team_key):
    made = operator.post(
        f"{TEAM}/scheduled-grants",
        {"credits": 50, "effective_at": ahead(3), "expires_at": ahead(30), "kind": "promotional"},
    ).json()

    assert (made["status"], made["credits"], made["kind"]) == ("scheduled", 50, "promotional")
    assert team_key.get(f"{TEAM}/scheduled-grants").json() == {
        "team_id": "acme",
        "total": 1,
        "limit": 50,
        "offset": 0,
        "scheduled_grants": [made],
    }
    assert operator.delete(f"{TEAM}/scheduled-grants/{made['id']}").json()["status"] == "cancelled"
    assert operator.delete(f"{TEAM}/scheduled-grants/none").status_code == 404
    assert allowances.post_scheduled() == 0


def test_keys_schedule_nothing(acme, team_key, stranger):
    body = {"credits": 50, "effective_at": ahead(3)}

    assert team_key.post(f"{TEAM}/scheduled-grants", body).status_code == 401
    assert stranger.get(f"{TEAM}/scheduled-grants").status_code == 403


def test_wrong_instants_name_their_field(acme, operator):
    past = operator.post(f"{TEAM}/scheduled-grants", {"credits": 50, "effective_at": ahead(-1)})
    crossed = operator.post(
        f"{TEAM}/scheduled-grants", {"credits": 50, "effective_at": ahead(5), "expires_at": ahead(4)}
    )

    assert located(past) == [["body", "effective_at"]]
    assert located(crossed) == [["body", "expires_at"]]


# --- Vouchers ----------------------------------------------------------------------------------------------


def test_voucher_is_made_shown_once_and_redeemed(acme, operator, team_key):
    made = operator.post("/api/vouchers", {"credits": 25, "credits_last_days": 90, "note": "launch"}).json()

    redeemed = team_key.post("/api/vouchers/redeem", {"code": made["code"]}).json()

    assert (redeemed["team_id"], redeemed["credits_added"]) == ("acme", 25)
    assert redeemed["credits_remaining"] == 125
    assert redeemed["credits_expire_at"] is not None
    shown = operator.get(f"/api/vouchers/{made['voucher_id']}").json()
    assert "code" not in shown
    assert (shown["status"], shown["uses"], shown["redemptions"][0]["team_id"]) == ("used", 1, "acme")
    assert operator.get("/api/vouchers").json()["total"] == 1


def test_repeat_with_a_key_gets_the_first_answer(acme, operator, team_key):
    code = operator.post("/api/vouchers", {"credits": 25}).json()["code"]

    first, again = (team_key.post("/api/vouchers/redeem", {"code": code}, key="k-1") for _ in range(2))
    without = team_key.post("/api/vouchers/redeem", {"code": code})

    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true"
    assert (without.status_code, without.json()["code"]) == (400, "voucher_redeemed")


def test_operator_redeems_for_a_team_and_says_which(acme, operator):
    code = operator.post("/api/vouchers", {"credits": 25}).json()["code"]

    nameless = operator.post("/api/vouchers/redeem", {"code": code})
    named = operator.post("/api/vouchers/redeem", {"code": code, "team_id": "acme"})

    assert located(nameless) == [["body", "team_id"]]
    assert named.json()["credits_remaining"] == 125


def test_key_redeems_for_its_own_team_alone(acme, operator, stranger):
    code = operator.post("/api/vouchers", {"credits": 25}).json()["code"]

    answer = stranger.post("/api/vouchers/redeem", {"code": code, "team_id": "acme"})

    assert (answer.status_code, answer.json()["detail"]) == (403, "API key does not belong to team 'acme'")


def test_withdrawn_and_unknown_vouchers_are_refused(acme, operator, team_key):
    made = operator.post("/api/vouchers", {"credits": 25}).json()
    assert operator.delete(f"/api/vouchers/{made['voucher_id']}").json()["status"] == "disabled"

    withdrawn = team_key.post("/api/vouchers/redeem", {"code": made["code"]})
    unknown = team_key.post("/api/vouchers/redeem", {"code": "ABCDE"})

    assert (withdrawn.status_code, withdrawn.json()["code"]) == (400, "voucher_not_usable")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "voucher_not_found")
    assert operator.get("/api/vouchers/none").status_code == 404
