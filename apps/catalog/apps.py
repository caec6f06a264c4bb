from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "apps.catalog"
    label = "catalog"

    def ready(self) -> None:
        from apps.catalog import services
        from apps.catalog.models import ProviderCredential
        from apps.core import encryption
        from apps.core.short_cache import forget_on_change

        encryption.register(ProviderCredential, "encrypted_key")
        forget_on_change(services.forget_cached, self.get_models())
