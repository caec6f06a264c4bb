from django.apps import AppConfig


class VirtualKeysConfig(AppConfig):
    name = "apps.virtual_keys"
    label = "virtual_keys"
    verbose_name = "Virtual keys"
