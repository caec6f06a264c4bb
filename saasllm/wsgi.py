"""The WSGI application. In embedded mode the worker and the sweeper start here, in the serving process."""

import os
import threading

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saasllm.settings")

application = get_wsgi_application()

from django.conf import settings  # noqa: E402  (settings exist only once Django is set up)

from saasllm import checks  # noqa: E402

checks.require_startable()

if settings.EMBEDDED:
    from apps.analytics.rollups import schedule
    from apps.jobs import embedded

    embedded.start()
    schedule.start()

from apps.console.signing_in import setup  # noqa: E402

# A database that is away must not keep the server from starting.
threading.Thread(target=setup.announce, name="setup-code", daemon=True).start()
