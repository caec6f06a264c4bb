from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


def _make_system_accounts(**_: Any) -> None:
    from apps.credits import ledger

    ledger.ensure_system_accounts()


class CreditsConfig(AppConfig):
    name = "apps.credits"
    label = "credits"

    def ready(self) -> None:
        from apps.core import append_only
        from apps.core import verification as core_verification
        from apps.core.short_cache import forget_on_change
        from apps.credits import pricing, verification
        from apps.credits.models import RateCard, RateCardVersion

        forget_on_change(pricing.forget_cached, (RateCard, RateCardVersion))
        for table in (
            "credits_entry",
            "credits_grantuse",
            "credits_block",
            "credits_period",
            "credits_periodbalance",
        ):
            append_only.register(table)
        append_only.register("credits_ratecardversion", when="OLD.state = 'active'")
        post_migrate.connect(_make_system_accounts, sender=self, dispatch_uid="credits_system_accounts")
        core_verification.register("credits", *verification.CHECKS)
        core_verification.register_figure("accounts", verification.accounts)
        core_verification.register_figure("entries", verification.entries)
