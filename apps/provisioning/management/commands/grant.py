"""`manage.py grant`: give a team credits."""

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.core import commands
from apps.core.actors import COMMAND
from apps.core.money import MAX_CREDITS
from apps.credits import billing
from apps.credits.models import Grant
from apps.provisioning import credits as provisioning
from apps.teams import services as teams


class Command(commands.Command):
    help = "Give a team credits. With --key, running it again grants nothing more."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("team", help="team id")
        parser.add_argument("credits", type=int, help="whole credits, above 0")
        parser.add_argument("--reason", required=True, help="why, for the ledger")
        parser.add_argument("--kind", choices=Grant.Kind.values, default=Grant.Kind.PAID)
        parser.add_argument("--key", help="names this grant: the same key grants once, however often it is run")

    def run(self, **options: Any) -> None:
        if not 0 < options["credits"] <= MAX_CREDITS:
            raise CommandError(f"credits must be a whole number from 1 to {MAX_CREDITS}.")
        team = teams.find(options["team"])
        provisioning.add_credits(
            team,
            credits=options["credits"],
            kind=Grant.Kind(options["kind"]),
            actor=COMMAND,
            key=options["key"] or str(uuid.uuid4()),
            reason=options["reason"],
        )
        figures = billing.balance(team).as_wire()
        self.stdout.write(
            f"{team.team_id}: {figures['credits_remaining']} credits remaining"
            f" of {figures['credits_allocated']} allocated"
        )
