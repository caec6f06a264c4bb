"""`manage.py provision`: a customer from nothing to a working key, in one go. Repeatable."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from apps.catalog import services as catalog
from apps.catalog.models import ModelAlias
from apps.core import commands
from apps.core.actors import COMMAND
from apps.core.money import MAX_CREDITS
from apps.provisioning import services


class Command(commands.Command):
    help = (
        "Make an organization, a team, its credits and a virtual key, as far as they are missing. Run again, it"
        " changes nothing and issues no second key unless --new-key is given."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", required=True, help="organization id, e.g. acme")
        parser.add_argument("--team", required=True, help="team id, e.g. acme-prod")
        parser.add_argument("--credits", type=int, default=0, help="whole credits granted once (default 0)")
        parser.add_argument(
            "--model",
            action="append",
            metavar="NAME",
            help="an access group, model group or alias that the team may use; repeatable",
        )
        parser.add_argument(
            "--team-default", metavar="NAME", help="the team's alias or model group for calls that name no model"
        )
        parser.add_argument(
            "--default-model",
            metavar="[ALIAS=]MODEL",
            default=settings.DEFAULT_MODEL,
            help="the platform's default, open to every team: the model's name at LiteLLM, with an alias that"
            " customers see in front (default alias: 'default'). Read from DEFAULT_MODEL when not given.",
        )
        parser.add_argument("--new-key", action="store_true", help="issue a key even if the team has one")

    def run(self, **options: Any) -> None:
        if not 0 <= options["credits"] <= MAX_CREDITS:
            raise CommandError(f"--credits must be a whole number from 0 to {MAX_CREDITS}.")
        if options["default_model"]:
            alias, _, model = options["default_model"].rpartition("=")
            catalog.set_platform_default(
                name=alias or "default", provider_model=model, route=ModelAlias.Route.LITELLM, actor=COMMAND
            )
        ensured = services.ensure_customer(
            organization_id=options["organization"],
            team_id=options["team"],
            credits=options["credits"],
            models=options["model"],
            default_model=options["team_default"],
            new_key=options["new_key"],
            actor=COMMAND,
        )
        self.stdout.write(f"SAAS_LITELLM_TEAM_ID={ensured.team.team_id}")
        if ensured.secret:
            self.stdout.write(f"SAAS_LITELLM_VIRTUAL_KEY={ensured.secret}")
            self.stderr.write("The key is shown this once. Keep it.")
        else:
            self.stderr.write("The team has a key already. Use --new-key for another one.")
