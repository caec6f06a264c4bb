"""`manage.py issue_key`: another virtual key for a team, shown once."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from apps.core import clock, commands
from apps.core.actors import COMMAND
from apps.teams import services as teams
from apps.virtual_keys import services as virtual_keys


class Command(commands.Command):
    help = "Issue a virtual key for a team and print it, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("team", help="team id")
        parser.add_argument("--name", default="", help="what the key is for")
        parser.add_argument("--scope", action="append", choices=virtual_keys.SCOPES, help="repeatable; none: all")
        parser.add_argument("--model", action="append", metavar="ALIAS", help="repeatable; none: the team's models")
        parser.add_argument("--address", action="append", metavar="NETWORK", help="repeatable; none: from anywhere")
        parser.add_argument("--days", type=int, help="days until it expires; none: never")

    def run(self, **options: Any) -> None:
        days = options["days"]
        if days is not None and not 0 < days <= 36_500:
            raise CommandError("--days must be a whole number from 1 to 36500.")
        key, secret = virtual_keys.issue(
            teams.find(options["team"]),
            actor=COMMAND,
            name=options["name"],
            scopes=options["scope"],
            models_allowed=options["model"],
            addresses_allowed=options["address"],
            expires_at=clock.db_now() + timedelta(days=days) if days else None,
        )
        self.stdout.write(f"SAAS_LITELLM_VIRTUAL_KEY={secret}")
        self.stderr.write(f"Key {key.pk} of team {key.team.team_id}. It is shown this once. Keep it.")
