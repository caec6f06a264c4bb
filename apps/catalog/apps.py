from typing import Any

from django.apps import AppConfig
from django.db import transaction
from django.db.models.signals import post_delete, post_save


def _forget_cached(**_: Any) -> None:
    """After a change: for what follows in its transaction, and again once others can see it."""
    from apps.catalog import services

    services.forget_cached()
    transaction.on_commit(services.forget_cached)


class CatalogConfig(AppConfig):
    name = "apps.catalog"
    label = "catalog"

    def ready(self) -> None:
        from apps.catalog.models import ProviderCredential
        from apps.core import encryption

        encryption.register(ProviderCredential, "encrypted_key")
        for model in self.get_models():
            for signal in (post_save, post_delete):
                signal.connect(
                    _forget_cached, sender=model, dispatch_uid=f"forget_cached_{model.__name__}_{id(signal)}"
                )
