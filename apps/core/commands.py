"""What our management commands share: a refusal is one clear line, not a traceback."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import DomainError


class Command(BaseCommand):
    """A command whose `run` may raise the product's own errors."""

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.run(**options)
        except DomainError as error:
            raise CommandError(error.message) from error

    def run(self, **options: Any) -> None:
        raise NotImplementedError
