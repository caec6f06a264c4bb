from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def _install_triggers(**_: Any) -> None:
    from apps.core import append_only

    append_only.install()


class CoreConfig(AppConfig):
    name = "apps.core"
    label = "core"

    def ready(self) -> None:
        from apps.core import append_only, encryption
        from apps.core import checks as checks
        from apps.core.models import IdempotencyKey

        append_only.register("core_auditentry")
        encryption.register(IdempotencyKey, "secret")
        # post_migrate is sent after every app's migrations, so all registered tables exist by then.
        post_migrate.connect(_install_triggers, sender=self, dispatch_uid="append_only_triggers")
