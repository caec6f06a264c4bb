"""Latencies as counts between fixed bounds that grow by 15 %: sums of counts are again a histogram, unlike means.

A percentile read from them is within 8 % of the exact one: between two bounds it is the geometric middle.
"""

from collections.abc import Mapping
from itertools import accumulate, pairwise
from math import ceil, sqrt

_RATIO_PERCENT = 115
_LONGEST_MS = 4 * 3600 * 1000


def _bounds() -> tuple[int, ...]:
    found = [0, 1]
    while found[-1] < _LONGEST_MS:
        found.append(max(found[-1] + 1, found[-1] * _RATIO_PERCENT // 100))
    return tuple(found)


# A latency belongs to the largest bound that is not above it. Never change them: rows name them.
BOUNDS_MS = _bounds()
_NEXT = dict(pairwise(BOUNDS_MS))


def percentile(counts: Mapping[int, int], percent: int) -> int | None:
    """Milliseconds that so many percent of the calls did not exceed, of calls by bound. None without any."""
    bounds = sorted(bound for bound, calls in counts.items() if calls)
    if not bounds:
        return None
    rank = ceil(sum(counts[bound] for bound in bounds) * percent / 100)
    reached = accumulate(counts[bound] for bound in bounds)
    bound = next((bound for bound, upto in zip(bounds, reached, strict=True) if upto >= rank), bounds[-1])
    last_ms = _NEXT.get(bound, bound + 1) - 1
    return round(sqrt(bound * last_ms))
