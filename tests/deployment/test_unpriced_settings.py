"""What is charged for models without a price is read exactly, and refused when it cannot be meant."""

import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from saasllm import settings
from tests.deployment.image import ROOT


@pytest.mark.parametrize(
    ("usd", "nanousd"), [("1.00", 10**9), ("0", 0), ("0.000000001", 1), ("999999.999999999", 10**15 - 1)]
)
def test_dollars_are_read_exactly(usd: str, nanousd: int) -> None:
    assert settings._nanousd("UNPRICED_INPUT_USD_PER_MTOK", usd) == nanousd


@pytest.mark.parametrize("usd", ["", "free", "-1", "NaN", "Infinity", "1000000", "0.0000000001", "1e99"])
def test_dollars_that_cannot_be_are_refused_by_name(usd: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="UNPRICED_INPUT_USD_PER_MTOK"):
        settings._nanousd("UNPRICED_INPUT_USD_PER_MTOK", usd)


def test_unknown_choice_ends_the_start() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import saasllm.settings"],
        cwd=ROOT,
        env={**os.environ, "UNPRICED_MODELS": "free"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode != 0
    assert 'UNPRICED_MODELS must be "refuse" or "estimate"' in ended.stderr
