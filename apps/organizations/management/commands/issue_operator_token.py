"""`manage.py issue_operator_token`: a token for an operator, shown once."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from apps.core import clock, commands
from apps.core.actors import COMMAND
from apps.organizations import operators, tokens
from apps.organizations.identity import Operator
from apps.organizations.rights import Right, Role


class Command(commands.Command):
    help = "Issue an operator token and print it, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email", help="the operator's")
        parser.add_argument("--name", required=True, help="what the token is for")
        rights = [right.value for right in Right]
        parser.add_argument("--scope", action="append", choices=rights, help="repeatable; none: all of the role")
        parser.add_argument("--days", type=int, help="days until it expires; none: OPERATOR_TOKEN_DAYS")

    def run(self, **options: Any) -> None:
        days = options["days"]
        if days is not None and not 0 < days <= settings.OPERATOR_TOKEN_MAX_DAYS:
            raise CommandError(f"--days must be a whole number from 1 to {settings.OPERATOR_TOKEN_MAX_DAYS}.")
        token, secret = tokens.issue(
            operators.by_email(options["email"]),
            by=Operator(COMMAND, Role.OWNER.value),
            name=options["name"],
            scopes=options["scope"] or (),
            expires_at=None if days is None else clock.now() + timedelta(days=days),
        )
        self.stdout.write(f"SAAS_LITELLM_OPERATOR_TOKEN={secret}")
        self.stderr.write(f"Token {token.pk} of {token.operator.email}. It is shown this once. Keep it.")
