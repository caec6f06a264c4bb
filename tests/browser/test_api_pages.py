"""/docs and /redoc in a real browser: they show the operations, and nothing is refused or asked of another host."""

import pytest

from tests.harness import processes


@pytest.fixture(scope="module")
def site():
    web = processes.start_web({"SAASLLM_EMBEDDED": "1", "DATABASE_URL": "sqlite:////nonexistent/none.sqlite3"})
    yield web.url
    web.kill()


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_shows_the_operations(chromium, site, path):
    asked, said = [], []
    page = chromium.new_page()
    page.on("request", lambda request: asked.append(request))
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{site}{path}")
    if path == "/docs":
        page.get_by_role("link", name="Jobs", exact=True).click()
        page.get_by_text("Open a job", exact=True).wait_for()
    else:
        page.locator("h2", has_text="Open a job").first.wait_for()
    page.close()

    # Redoc's own logo is what the policy is for: it is blocked before anybody is asked.
    assert [text for text in said if "logo-mini.svg" not in text or "blocked" not in text] == []
    elsewhere = [request for request in asked if not request.url.startswith((site, "data:", "blob:"))]
    assert len(asked) >= 4
    assert [request.url for request in elsewhere if request.failure != "csp"] == []
