"""Percentiles read from the fixed bounds are within 8 % of the exact ones."""

from collections import Counter
from itertools import pairwise
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.analytics import latency

latencies = st.lists(st.one_of(st.integers(0, 50), st.integers(0, 3_600_000)), min_size=1, max_size=60)


def bound_of(ms: int) -> int:
    return max(bound for bound in latency.BOUNDS_MS if bound <= ms)


@given(latencies=latencies, percent=st.sampled_from([1, 50, 95, 99, 100]))
def test_percentiles_are_within_8_percent(latencies, percent):
    exact = sorted(latencies)[ceil(len(latencies) * percent / 100) - 1]

    found = latency.percentile(Counter(map(bound_of, latencies)), percent)

    # Half a millisecond is lost in rounding.
    assert abs(found - exact) <= exact * 0.08 + 0.5


def test_bounds_grow_by_15_percent_at_most():
    wide = [(low, high) for low, high in pairwise(latency.BOUNDS_MS) if high > low + 1]

    assert wide
    assert all(high * 100 <= low * 115 for low, high in wide)


@pytest.mark.parametrize("counts", [{}, {5: 0}])
def test_of_no_calls_there_is_no_percentile(counts):
    assert latency.percentile(counts, 50) is None


def test_longer_than_the_last_bound_counts_for_it():
    assert latency.percentile({latency.BOUNDS_MS[-1]: 1}, 50) == latency.BOUNDS_MS[-1]
