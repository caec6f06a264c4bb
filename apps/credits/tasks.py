"""Celery tasks of the ledger. Safe to run twice."""

from celery import shared_task

from apps.core import verification


@shared_task(name="credits.verify", ignore_result=True)
def verify() -> None:
    """Re-derive the ledger, log what differs, and leave the outcome as an event."""
    verification.verify_and_report()
