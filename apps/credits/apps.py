from typing import Any

from django.apps import AppConfig
from django.db import transaction
from django.db.models.signals import post_delete, post_migrate, post_save


def _make_system_accounts(**_: Any) -> None:
    from apps.credits import ledger

    ledger.ensure_system_accounts()


def _forget_prices(**_: Any) -> None:
    """After a change: for what follows in its transaction, and again once others can see it."""
    from apps.credits import pricing

    pricing.forget_cached()
    transaction.on_commit(pricing.forget_cached)


class CreditsConfig(AppConfig):
    name = "apps.credits"
    label = "credits"

    def ready(self) -> None:
        from apps.core import append_only
        from apps.core import verification as core_verification
        from apps.credits import verification
        from apps.credits.models import RateCard, RateCardVersion

        for model in (RateCard, RateCardVersion):
            for signal in (post_save, post_delete):
                signal.connect(_forget_prices, sender=model, dispatch_uid=f"forget_{model.__name__}_{id(signal)}")
        for table in ("credits_entry", "credits_grantuse"):
            append_only.register(table)
        post_migrate.connect(_make_system_accounts, sender=self, dispatch_uid="credits_system_accounts")
        core_verification.register("credits", *verification.CHECKS)
        core_verification.register_figure("accounts", verification.accounts)
        core_verification.register_figure("entries", verification.entries)
