"""A few of the requests that `make schema-fuzz` makes many of: the examples of every operation."""

from apps.openapi.document import operations
from tests.openapi import fuzz


def test_every_example_can_be_sent(capfd):
    code = fuzz.fuzz("operator", examples=1, seed=1, phases="examples")

    said = capfd.readouterr().out
    assert code == 0, said[-4000:]
    assert f"Selected: {len(operations())}/{len(operations())}" in said
