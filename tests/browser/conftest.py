"""A real browser against a live server, with the cast of the console's tests.

A page fails its test by a console error, a failed request, a request to another host or a violation of the policy.
Without Debian's chromium these tests are skipped, except under CI, which must have it (`.ci/run` installs it).
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from apps.organizations.models import User
from tests.console.conftest import CAST, PASSWORD

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).resolve().parent.parent.parent / "var" / "screenshots"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for the tests of a module, no longer: while Playwright is there its event loop counts as running, and
    other tests of the process could not run one of their own."""
    if not CHROMIUM:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed, and under CI the browser's tests must run")
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    # Playwright's loop makes Django believe that it is asked from asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def open_browser(chromium: Any, live_server: Any, settings: Any) -> Iterator[Callable[..., Any]]:
    """`open_browser(role, size, scheme)` gives a page whose browser that operator is signed in to."""
    settings.EMBEDDED = True
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    contexts: list[Any] = []
    wrong: list[str] = []

    def watch(page: Any) -> None:
        own = re.compile(re.escape(live_server.url))
        page.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
        page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("response", lambda got: _note_answer(got, wrong))
        page.on("requestfailed", lambda asked: _note_failure(asked, wrong))
        page.on("request", lambda asked: _note_leaving(asked.url, own, wrong))

    def open_(role: str = "", size: dict[str, int] = WIDE, scheme: str = "light") -> Any:
        context = chromium.new_context(
            viewport=size, color_scheme=scheme, base_url=live_server.url, timezone_id="Europe/Berlin"
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=live_server.url)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        watch(page)
        if role:
            sign_in(page, role)
        return page

    open_.wrong = wrong  # type: ignore[attr-defined]
    yield open_
    for context in contexts:
        context.close()
    # A page that is meant to be refused has its own status in the console; what is wrong with it was noted above.
    assert [each for each in wrong if "Failed to load resource" not in each] == []


def _note_answer(got: Any, wrong: list[str]) -> None:
    is_missing_file = got.status == 404 and "/admin/" not in got.url
    if got.status >= 500 or is_missing_file:
        wrong.append(f"{got.status} for {got.url}")


def _note_failure(asked: Any, wrong: list[str]) -> None:
    failure = asked.failure or ""
    if "ERR_ABORTED" not in failure:
        wrong.append(f"request failed: {asked.url} {failure}")


def _note_leaving(url: str, own: re.Pattern[str], wrong: list[str]) -> None:
    if url.startswith(("http", "ws")) and not own.match(url):
        wrong.append(f"left the host: {url}")


def operator(role: str) -> User:
    """The operator of this role, made when there is none."""
    name = CAST[role]
    email = f"{name.lower()}@example.com"
    found = User.objects.filter(email=email).first()
    return found or User.objects.create_user(email, PASSWORD, role=role, display_name=name)


def sign_in(page: Any, role: str) -> None:
    """With a session that was made elsewhere: the sign-in page has tests of its own."""
    client = Client()
    client.force_login(operator(role))
    session = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": session, "domain": "localhost", "path": "/"}])


def shoot(page: Any, name: str) -> None:
    """A screenshot for people to look at, kept out of the repository."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)
