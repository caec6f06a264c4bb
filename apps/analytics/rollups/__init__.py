"""Fills the rollups (docs/usage.md, "Rollups"): from a watermark, whole buckets at a time, safe to run twice."""

from apps.analytics.rollups.filling import Filled, earliest, fill, filled_until, rebuild
from apps.analytics.rollups.spans import DAY, QUARTER, day_of, quarter_of

__all__ = [
    "DAY",
    "QUARTER",
    "Filled",
    "day_of",
    "earliest",
    "fill",
    "filled_until",
    "quarter_of",
    "rebuild",
]
