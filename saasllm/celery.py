"""The Celery application. Messages carry ids; the database knows what is due (docs/architecture.md)."""

import os

from celery import Celery

# Before the app is made: Celery's Django fixup, which returns connections after each task, reads it here.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "saasllm.settings")

app = Celery("saasllm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
