"""Migrates a database and puts customers into it, through the product's own functions.

A program, `python -m tests.services.prepare PLAN`, for databases that are not the test run's own. PLAN is JSON:
`{"models": ["fake-ok", …], "teams": [{"team_id": "acme", "credits": 10, "is_metered": false,
"cancels_left_streams": false}, …]}`. Prints the teams' keys as JSON, by team id.
"""

# ruff: noqa: T201, E402 - it talks to its caller by printing; models exist only once Django is set up.

import json
import sys
from functools import partial
from typing import Any

import django

django.setup()

from django.core.management import call_command

from apps.catalog.models import ModelAlias
from apps.credits.models import BillingSettings
from tests import make
from tests.harness import faults

DEFAULT_MODEL = "chat-default"
# Calls cost about a hundred-thousandth of a dollar: with fewer credits a dollar every job would cost the minimum.
CREDITS_PER_DOLLAR = 1_000_000


def main(plan: dict[str, Any]) -> dict[str, str]:
    call_command("migrate", verbosity=0)
    make.platform_model(DEFAULT_MODEL, route=ModelAlias.Route.LITELLM, provider_model="fast")
    for model in plan["models"]:
        make.alias(model, route=ModelAlias.Route.LITELLM, provider_model=model, is_open=True)
    # The fake provider's own prices, so that costs can be compared with its bill.
    ModelAlias.objects.update(
        input_nanousd_per_mtok=faults.NANOUSD_PER_PROMPT_TOKEN * 10**6,
        output_nanousd_per_mtok=faults.NANOUSD_PER_COMPLETION_TOKEN * 10**6,
    )
    keys = {}
    for team in plan["teams"]:
        make_team = make.customer
        if team["is_metered"]:
            make_team = partial(make.metered_customer, credits_per_dollar=CREDITS_PER_DOLLAR)
        customer = make_team(team_id=team["team_id"], credits=team["credits"])
        if team["cancels_left_streams"]:
            BillingSettings.objects.update_or_create(team=customer.team, defaults={"cancels_left_streams": True})
        keys[team["team_id"]] = customer.secret
    return keys


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
