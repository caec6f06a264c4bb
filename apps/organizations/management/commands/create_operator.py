"""`manage.py create_operator`: name an operator, with a password from standard input or without one."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from apps.core import commands
from apps.core.actors import COMMAND
from apps.organizations import operators
from apps.organizations.identity import Operator
from apps.organizations.rights import Role


class Command(commands.Command):
    help = "Name an operator. With --password-stdin the first line of standard input becomes their password."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--email", required=True, help="whom; their name at sign-in")
        parser.add_argument("--role", required=True, choices=operators.ROLES)
        parser.add_argument("--name", default="", help="what they are called")
        parser.add_argument("--time-zone", default="", help="IANA name; empty: the browser's")
        # Never as an argument, which every process of the machine can read.
        parser.add_argument("--password-stdin", action="store_true", help="read their password")

    def run(self, **options: Any) -> None:
        user = operators.create(
            email=options["email"],
            role=options["role"],
            display_name=options["name"],
            time_zone=options["time_zone"],
            password=self._password() if options["password_stdin"] else None,
            by=Operator(COMMAND, Role.OWNER.value),
        )
        self.stdout.write(f"Operator {user.email} ({user.role}), id {user.public_id}.")
        if not user.has_usable_password():
            self.stderr.write(f"No password yet: `manage.py changepassword {user.email}` sets one.")

    def _password(self) -> str:
        password = sys.stdin.readline().rstrip("\r\n")
        try:
            validate_password(password)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        return password
