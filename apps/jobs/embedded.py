"""Worker and sweeper inside the serving process: what `manage.py demo` runs on, with no server to install.

Started once, after the server forked: before that no thread and no connection may exist.
"""

import threading

from celery import current_app
from django.conf import settings

from apps.jobs import dispatch, sweeper


def start() -> None:
    """Start the Celery worker thread and the sweeper's timer thread, and let this process publish."""
    current_app.finalize()
    current_app.loader.import_default_modules()
    worker = current_app.WorkController(
        pool="threads",
        concurrency=settings.EMBEDDED_WORKER_THREADS,
        without_heartbeat=True,
        without_mingle=True,
        without_gossip=True,
    )
    threading.Thread(target=worker.start, name="embedded-worker", daemon=True).start()
    dispatch.embedded_is_running()
    threading.Thread(target=sweeper.run_forever, name="embedded-sweeper", daemon=True).start()
