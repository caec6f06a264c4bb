from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "apps.payments"
    label = "payments"

    def ready(self) -> None:
        from apps.core import append_only
        from apps.core import verification as core_verification
        from apps.core.short_cache import forget_on_change
        from apps.payments import currencies, verification
        from apps.payments.models import CurrencyRate

        append_only.register("payments_currencyrate")
        forget_on_change(currencies.forget_cached, (CurrencyRate,))
        core_verification.register("payments", *verification.CHECKS)
