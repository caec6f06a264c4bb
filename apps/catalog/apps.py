from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "apps.catalog"
    label = "catalog"

    def ready(self) -> None:
        from apps.catalog import services
        from apps.catalog.models import ProviderCredential
        from apps.core import append_only, encryption
        from apps.core.short_cache import forget_on_change

        encryption.register(ProviderCredential, "encrypted_key")
        append_only.register("catalog_price")
        forget_on_change(services.forget_cached, self.get_models())
