"""What is due of a job in every mode and by every policy, and that a hold covers whatever can come of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import MICROS, NANOUSD
from apps.credits import pricing, settlement
from apps.credits.settlement import Verdict, Work

FLAT = pricing.Terms(
    mode="flat",
    card="c",
    price_micros=4 * MICROS,
    micros_per_usd=10 * MICROS,
    tokens_per_credit=10_000,
    markup_ppm=0,
    minimum_micros=MICROS,
    rounding="down",
)
IN_USD = replace(FLAT, mode="metered_usd", markup_ppm=500_000)
HYBRID = replace(FLAT, mode="hybrid", allowance_nanousd=NANOUSD // 2, ceiling_micros=20 * MICROS)


def work(good: int = 1, bad: int = 0, *, usd: float = 0.1, tokens: int = 0, lost_usd: float = 0) -> Work:
    return Work(good, bad, tokens, int(usd * NANOUSD), int(lost_usd * NANOUSD))


def owed(terms: pricing.Terms, verdict: str, done: Work) -> float:
    return settlement.due(terms, Verdict(verdict), done).micros / MICROS


@pytest.mark.parametrize(
    ("usd", "expected"), [(0, 4), (0.5, 4), (0.59, 4), (0.6, 5), (1.0, 9), (1.55, 14), (2.1, 20), (1000, 20)]
)
def test_hybrid_is_flat_up_to_its_allowance_then_metered_and_never_above_its_ceiling(usd, expected):
    assert owed(HYBRID, "completed", work(usd=usd)) == expected


@pytest.mark.parametrize(("tokens", "expected"), [(0, 4), (50_000, 4), (59_999, 4), (60_000, 5), (10**9, 20)])
def test_hybrid_with_an_allowance_of_tokens(tokens, expected):
    terms = replace(HYBRID, allowance_nanousd=None, allowance_tokens=50_000)
    assert owed(terms, "completed", work(tokens=tokens)) == expected


def test_hybrid_counts_the_markup_beyond_the_allowance_alone():
    # 0.50 USD beyond, with half on top 0.75, at ten credits a dollar 7.5: seven and the price of four.
    assert owed(replace(HYBRID, markup_ppm=500_000), "completed", work(usd=1)) == 11


@pytest.mark.parametrize(("rounding", "expected"), [("down", 5), ("up", 6), ("none", 5.5)])
def test_hybrid_rounds_what_is_beyond_the_allowance(rounding, expected):
    assert owed(replace(HYBRID, rounding=rounding), "completed", work(usd=0.65)) == expected


@pytest.mark.parametrize("terms", [IN_USD, replace(FLAT, mode="metered_tokens")])
def test_metered_job_has_a_ceiling_too(terms):
    assert owed(replace(terms, ceiling_micros=3 * MICROS), "completed", work(usd=5, tokens=10**7)) == 3


@pytest.mark.parametrize(
    ("policy", "expected"), [({}, 0), ({"on_failed": "cost"}, 1.5), ({"on_failed": "percent"}, 1)]
)
def test_failed_job_by_policy(policy, expected):
    terms = replace(FLAT, markup_ppm=500_000, policy_percent=25, **policy)
    assert owed(terms, "failed", work()) == expected


@pytest.mark.parametrize(
    ("policy", "expected"), [({}, 0), ({"on_cancelled": "cost"}, 1), ({"on_cancelled": "percent"}, 2)]
)
def test_cancelled_job_by_policy(policy, expected):
    assert owed(replace(FLAT, policy_percent=50, **policy), "cancelled", work()) == expected


@pytest.mark.parametrize(
    ("policy", "expected"), [({}, 4), ({"on_partly_failed": "cost"}, 1), ({"on_partly_failed": "percent"}, 3)]
)
def test_partly_failed_job_by_policy(policy, expected):
    assert owed(replace(FLAT, **policy), "completed", work(3, 1)) == expected


@pytest.mark.parametrize(("policy", "expected"), [({}, 4), ({"on_abandoned": "free"}, 0)])
def test_abandoned_job_by_policy(policy, expected):
    assert owed(replace(FLAT, **policy), "abandoned", work()) == expected


def test_cost_is_at_most_the_price():
    assert owed(replace(FLAT, on_failed="cost"), "failed", work(usd=100)) == 4


@pytest.mark.parametrize("verdict", list(Verdict))
def test_where_nothing_was_served_no_share_of_the_price_is_due(verdict):
    terms = replace(FLAT, on_failed="percent", on_cancelled="percent", on_partly_failed="percent", policy_percent=100)
    assert owed(terms, verdict, work(0, 3, usd=0)) == 0


def test_completing_without_a_success_is_failing_whatever_the_caller_says():
    terms = replace(FLAT, on_failed="cost")
    # A stream broke off after a part of it was delivered.
    assert owed(terms, "completed", work(0, 1, usd=0.2)) == owed(terms, "failed", work(0, 1, usd=0.2)) == 2


def test_failed_tries_beyond_those_included_are_metered():
    terms = replace(IN_USD, markup_ppm=0, included_tries=2)
    lost = [settlement.billed_of_try(terms, tries=tries, nanousd=NANOUSD) for tries in range(4)]
    assert lost == [0, 0, NANOUSD, NANOUSD]
    assert owed(terms, "completed", work(usd=0.5, lost_usd=1)) == 15


def test_without_a_number_of_included_tries_all_are_the_platforms():
    assert settlement.billed_of_try(IN_USD, tries=1000, nanousd=NANOUSD) == 0


def test_terms_frozen_by_an_older_version_are_read_with_defaults():
    old = {
        "mode": "hybrid",
        "card": "default",
        "price_micros": 2 * MICROS,
        "micros_per_usd": 10 * MICROS,
        "tokens_per_credit": 10_000,
        "markup_ppm": 0,
        "minimum_micros": MICROS,
        "rounding": "down",
    }
    terms = pricing.Terms(**old)

    assert not terms.is_metered
    assert [owed(terms, verdict, work(2, 1)) for verdict in Verdict] == [2, 0, 0, 2]
    assert terms.frozen() == old


def test_later_terms_are_frozen_where_they_say_something():
    terms = replace(HYBRID, on_failed="cost")
    kept = terms.frozen()
    assert {"ceiling_micros", "allowance_nanousd", "on_failed"} <= kept.keys()
    assert "on_cancelled" not in kept
    assert pricing.Terms(**kept) == terms


# --- Properties --------------------------------------------------------------------------------------------

_SMALL = st.integers(0, 10**12)
_MAYBE = st.none() | _SMALL
TERMS = st.builds(
    pricing.Terms,
    mode=st.sampled_from(["flat", "metered_usd", "metered_tokens", "hybrid"]),
    card=st.just("c"),
    price_micros=st.integers(0, 10**9),
    micros_per_usd=st.integers(1, 10**9),
    tokens_per_credit=st.integers(1, 10**9),
    markup_ppm=st.integers(0, 10**7),
    minimum_micros=st.integers(0, 10**9),
    rounding=st.sampled_from(["down", "up", "none"]),
    ceiling_micros=_MAYBE,
    allowance_nanousd=_MAYBE,
    allowance_tokens=_MAYBE,
    included_tries=st.none() | st.integers(0, 3),
    on_failed=st.sampled_from(["free", "cost", "percent"]),
    on_cancelled=st.sampled_from(["free", "cost", "percent"]),
    on_partly_failed=st.sampled_from(["full", "cost", "percent"]),
    on_abandoned=st.sampled_from(["completed", "free"]),
    policy_percent=st.integers(0, 100),
)
VERDICTS = st.sampled_from(list(Verdict))
WORK = st.builds(Work, st.integers(0, 50), st.integers(0, 50), _SMALL, _SMALL, _SMALL)


@given(terms=TERMS, verdict=VERDICTS, done=WORK)
def test_nothing_is_due_above_the_price_of_what_was_used(terms, verdict, done):
    found = settlement.due(terms, verdict, done)
    assert 0 <= found.micros <= settlement.price_of(terms, done)
    assert found.explanation


@given(terms=TERMS, done=WORK, more_nanousd=_SMALL, more_tokens=_SMALL)
def test_more_work_never_costs_less(terms, done, more_nanousd, more_tokens):
    more = replace(done, tokens=done.tokens + more_tokens, provider_nanousd=done.provider_nanousd + more_nanousd)
    assert settlement.price_of(terms, done) <= settlement.price_of(terms, more)


@given(terms=TERMS, verdict=VERDICTS, done=WORK)
def test_ceiling_holds_in_every_mode_that_meters(terms, verdict, done):
    if terms.is_metered and terms.ceiling_micros is not None:
        assert settlement.due(terms, verdict, done).micros <= terms.ceiling_micros


@given(terms=TERMS)
def test_frozen_terms_are_the_terms(terms):
    assert pricing.Terms(**terms.frozen()) == terms


_ENDS = st.lists(
    st.tuples(
        st.integers(0, 10**9),  # bound in nano-dollars
        st.integers(0, 10**6),  # bound in tokens
        st.integers(0, 100),  # percent of it that is used
        st.sampled_from(["succeeded", "failed", "delivered"]),
        st.booleans(),  # whether it is admitted while the one before is open
    ),
    max_size=8,
)


@given(terms=TERMS, verdict=VERDICTS, calls=_ENDS)
def test_what_is_due_is_never_above_what_was_held_for_calls_within_their_bounds(terms, verdict, calls):
    """Admissions and ends in any order, as `lifecycle.needed_hold` and `_count` take them. A failed call loses what
    one try may cost."""
    done, tries, held, waiting = Work(0, 0, 0, 0), 0, 0, []

    def end(call):
        nonlocal done, tries
        nanousd, tokens, percent, how, _ = call
        cost, used = nanousd * percent // 100, tokens * percent // 100
        if how == "failed":
            lost = settlement.billed_of_try(terms, tries=tries, nanousd=cost) if cost else 0
            tries += 1 if cost else 0
            done = replace(
                done, failed_calls=done.failed_calls + 1, billed_lost_nanousd=done.billed_lost_nanousd + lost
            )
            return
        done = replace(
            done,
            successful_calls=done.successful_calls + (how == "succeeded"),
            failed_calls=done.failed_calls + (how == "delivered"),
            tokens=done.tokens + used,
            provider_nanousd=done.provider_nanousd + cost,
        )

    for call in calls:
        if not call[4]:
            while waiting:
                end(waiting.pop())
        waiting.append(call)
        held = max(
            held,
            pricing.price(
                terms,
                provider_nanousd=done.billed_nanousd + sum(each[0] for each in waiting),
                tokens=done.tokens + sum(each[1] for each in waiting),
            ),
        )
    while waiting:
        end(waiting.pop())

    if calls:
        assert settlement.due(terms, verdict, done).micros <= held
