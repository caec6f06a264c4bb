"""Celery tasks of analytics. Safe to run twice."""

from celery import shared_task

from apps.analytics import rollups


@shared_task(name="analytics.fill_rollups", ignore_result=True)
def fill_rollups() -> None:
    """Bring rollups up to now."""
    rollups.fill()
