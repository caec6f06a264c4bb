"""Filling in a thread of the serving process, where no Celery beat runs: what `manage.py demo` has."""

import logging
import threading

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from apps.analytics.rollups.filling import fill
from apps.core import processes
from apps.core.db import release_connection

log = logging.getLogger("saasllm.rollups")


def start() -> None:
    """Fill rollups in the background, every ROLLUPS_EVERY_S. After the server forked."""
    processes.run_in_background("rollups", run_forever)


def run_forever() -> None:
    """A run every ROLLUPS_EVERY_S."""
    pause = threading.Event()
    while True:
        run()
        pause.wait(settings.ROLLUPS_EVERY_S)


def run() -> None:
    """One run. What fails is logged, and tried again by the next."""
    try:
        fill()
    except (DatabaseError, InterfaceError) as error:
        log.warning("rollups were not filled: %s", type(error).__name__)
    except Exception:
        # A defect met by one run must not end all of them.
        log.exception("rollups were not filled")
    finally:
        release_connection()
