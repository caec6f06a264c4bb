"""Wiring only: settings, urls, the WSGI and Celery applications."""

from saasllm.celery import app as celery_app

__all__ = ("celery_app",)
