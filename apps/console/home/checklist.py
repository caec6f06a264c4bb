"""What an empty platform still needs, computed from what there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists
from django.urls import reverse

from apps.catalog.models import ModelAlias, Price
from apps.credits.models import RateCard
from apps.jobs.models import Job
from apps.organizations.models import User
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    why: str
    is_done: bool
    url: str


_STEPS = (
    ("owner", User, "An owner who signs in", "Somebody has to name the other operators.", "organizations_user"),
    (
        "alias",
        ModelAlias,
        "A model",
        "What customers call, and which provider's model answers.",
        "catalog_modelalias",
    ),
    ("price", Price, "A price of a provider", "Without it nobody knows what calls cost you.", "catalog_price"),
    (
        "card",
        RateCard,
        "A rate card",
        "What jobs cost in credits; one each without it.",
        "credits_ratecard",
    ),
    ("team", Team, "A customer", "An organization and a team that holds credits.", "teams_team"),
    ("key", VirtualKey, "A key", "With it the customer's program calls.", "virtual_keys_virtualkey"),
    ("job", Job, "The first job", "Run the quick start of the documentation with the key.", "jobs_job"),
)


def steps(operator: User) -> list[Step]:
    """All seven, done or not. One query."""
    exist = {name: Exists(model._default_manager.order_by()) for name, model, *_ in _STEPS}
    found: Mapping[str, Any] = User.objects.filter(pk=operator.pk).annotate(**exist).values(*exist).get()
    return [
        Step(title, why, found[name], reverse(f"admin:{route}_changelist")) for name, _, title, why, route in _STEPS
    ]
