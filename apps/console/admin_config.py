"""Makes the console the site on which every app registers its plain pages."""

from django.contrib.admin.apps import AdminConfig


class ConsoleAdminConfig(AdminConfig):
    default_site = "apps.console.site.ConsoleSite"
