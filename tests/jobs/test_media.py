"""Messages name media at public hosts, or bring them along."""

from typing import Any

import pytest

from apps.core.errors import InvalidField
from apps.jobs.media import require_fetchable
from tests import make
from tests.jobs import steps


def body_of(url: str, name: str = "image_url") -> dict[str, Any]:
    text = {"type": "text", "text": "http://127.0.0.1/ is just talked about"}
    return {"messages": [{"role": "user", "content": "Look."}, {"role": "user", "content": [text, part(url, name)]}]}


def part(url: str, name: str) -> dict[str, Any]:
    return {"type": name, name: {"url": url}}


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,aHR0cDovLzEyNy4wLjAuMQ==",
        "https://images.example.com/a.png?x=1",
        "HTTP://8.8.8.8:8080/a",
        "https://[2606:4700::1111]/a",
    ],
)
def test_public_hosts_and_data_are_taken(url: str):
    require_fetchable(body_of(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a",
        f"{' ' * 99}http://127.0.0.1/a",
        "\x01http://127.0.0.1/a",
        "ht\ntp\ts://127.0.0.1/a",
        "hTTp://10.1.2.3",
        "https://192.168.0.1:8443/a",
        "http://169.254.169.254/latest/meta-data",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://100.64.0.1/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]/",
        "http://[fd00::1]/",
        "http://localhost:6379/",
        "http://LocalHost./",
        "http://a.localhost/",
        "http://metadata.google.internal/",
        "http://user@10.0.0.1/",
        "http://public.example.com\\@127.0.0.1/",
        "http://127.0.0.1\t/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://[::1",
        "http://:80/",
        "http:/127.0.0.1/",
    ],
)
def test_hosts_of_our_own_network_are_refused_by_place(url: str):
    with pytest.raises(InvalidField) as refused:
        require_fetchable(body_of(url))
    assert refused.value.errors[0]["loc"] == ["body", "messages", 1, "content", 1, "image_url"]


@pytest.mark.parametrize("name", ["input_audio", "video_url", "file"])
def test_whatever_else_is_fetched_is_judged_too(name: str):
    with pytest.raises(InvalidField):
        require_fetchable(body_of("http://localhost/", name))
    content = [{"type": name, name: "http://localhost/"}]
    with pytest.raises(InvalidField):
        require_fetchable({"messages": [{"role": "user", "content": content}]})


def test_urls_may_be_switched_off(settings: Any):
    settings.MEDIA_URLS = "refuse"
    with pytest.raises(InvalidField):
        require_fetchable(body_of("https://images.example.com/a.png"))
    require_fetchable(body_of("data:image/png;base64,AAAA"))


def test_call_with_such_a_url_is_refused_before_anything_is_held(acme: make.Customer):
    job = steps.open_job(acme)
    with pytest.raises(InvalidField):
        steps.ask(acme, job, parameters=body_of("http://127.0.0.1/"))
    job.refresh_from_db()
    assert (job.total_calls, job.held_micros) == (0, 0)
