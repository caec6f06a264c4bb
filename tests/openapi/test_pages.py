"""/openapi.json, /docs and /redoc: public, from files of our own, under a policy that allows no script of others.

None of these tests may use the database: the pages ask nothing of it.
"""

import json
import re
import subprocess
import sys

import pytest
from django.conf import settings
from django.test import Client

from apps.openapi.document import document_json


def test_the_document_is_served_to_anybody():
    answer = Client().get("/openapi.json")

    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert answer.content == document_json()
    assert json.loads(answer.content)["info"]["title"] == "SaaS LLM API"


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_page_asks_nobody_else(page):
    answer = Client().get(page)

    html = answer.content.decode()
    policy = answer["Content-Security-Policy"]
    assert answer.status_code == 200
    assert "script-src 'self';" in policy
    assert "http" not in policy
    loaded = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(loaded) >= 4
    assert all(place.startswith("/static/") for place in loaded), loaded
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)
    for place in loaded:
        assert Client().get(place).status_code == 200, place


def test_serving_does_not_make_the_document_before_it_is_asked_for():
    """It reads all models of the API: no call waits for that, and no worker keeps it in memory."""
    code = (
        "import django, sys; django.setup(); import saasllm.urls; from django.test import Client;"
        "Client().get('/health'); print('apps.openapi.document' in sys.modules)"
    )
    env = {"DJANGO_SETTINGS_MODULE": "saasllm.settings", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n", done.stderr
