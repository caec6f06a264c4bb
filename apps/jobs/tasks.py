"""Celery tasks: each fetches nothing and decides nothing, it calls one function. Safe to run twice."""

from celery import shared_task

from apps.jobs import execution


@shared_task(name="jobs.run_calls", acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def run_calls(call_ids: list[str]) -> None:
    """Make calls, if they are still to be made."""
    execution.run_calls(call_ids)
