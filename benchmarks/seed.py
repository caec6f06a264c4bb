"""Makes the customers of a benchmark through the product's own functions and prints their keys as JSON.

A program of its own, run inside the tree that is measured: `python -P benchmarks/seed.py TEAMS CREDITS MODEL`.
"""

import json
import sys

import django

django.setup()

from apps.catalog import services as catalog  # noqa: E402  (apps exist only once Django is set up)
from apps.catalog.models import ModelAlias  # noqa: E402
from apps.core.actors import COMMAND  # noqa: E402
from apps.provisioning import services as provisioning  # noqa: E402


def main(teams: int, credits: int, model: str) -> None:
    catalog.set_platform_default(name="default", provider_model=model, route=ModelAlias.Route.LITELLM, actor=COMMAND)
    made = [
        provisioning.ensure_customer(
            organization_id="bench", team_id=f"bench-{number}", credits=credits, actor=COMMAND
        )
        for number in range(teams)
    ]
    print(json.dumps([[customer.team.team_id, customer.secret] for customer in made]))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
