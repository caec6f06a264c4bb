"""The Celery application. Messages carry ids; the database knows what is due (docs/architecture.md)."""

import os
import threading
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init

# Before the app is made: Celery's Django fixup, which returns connections after each task, reads it here.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saasllm.settings")

app = Celery("saasllm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _require_startable(**_: Any) -> None:
    # Late: settings import this module on their way.
    from saasllm import checks

    checks.require_startable()


def _sweep_beside_beat(**_: Any) -> None:
    # Late, as above.
    from apps.jobs import sweeper

    threading.Thread(target=sweeper.run_forever, name="sweeper", daemon=True).start()


for _signal in (worker_init, beat_init):
    _signal.connect(_require_startable, weak=False)
beat_init.connect(_sweep_beside_beat, weak=False)
