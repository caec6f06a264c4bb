"""`manage.py prices`: list, show, add and import, where past calls are repriced before anything is written."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.catalog import prices
from apps.catalog.price_models import Price
from apps.catalog.rates import Rates
from apps.core.models import AuditEntry
from apps.jobs import repricing
from apps.jobs.gateway.usage import read_usage
from apps.jobs.models import Call
from tests import make
from tests.jobs import steps

CHAT = {"mode": "chat", "input_cost_per_token": 2e-06, "output_cost_per_token": 4e-06}


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"provider/chat": CHAT, "provider/unused": CHAT, "sample_spec": {}}))
    return file


def manage(*args: Any) -> str:
    out = StringIO()
    call_command("prices", *map(str, args), stdout=out)
    return out.getvalue()


@pytest.fixture
def customer(db: None) -> make.Customer:
    make.alias("chat", provider_model="Provider/Chat", is_open=True)
    return make.customer(credits=100)


def work(customer: make.Customer, monkeypatch: pytest.MonkeyPatch, *, model: str = "chat", **answer: Any) -> None:
    steps.take_route(monkeypatch, lambda _: steps.answer(**answer))
    job = steps.open_job(customer)
    steps.run(steps.ask(customer, job, f"question {job.pk}", model=model))


def test_import_shows_and_writes_nothing_without_apply(customer: make.Customer, map_file: Path):
    shown = manage("import", map_file)

    assert "new       provider/chat: input 2.00, output 4.00" in shown
    assert "provider/unused" not in shown
    assert "1 new, 0 changed, 0 unchanged, 0 left out." in shown
    assert "Nothing was written" in shown
    assert not Price.objects.exists()


def test_applied_import_is_in_force_and_repeatable(customer: make.Customer, map_file: Path):
    assert "1 prices were written, from now." in manage("import", map_file, "--apply")
    assert "There is nothing to change." in manage("import", map_file, "--apply")

    price = Price.objects.get()
    assert (price.model, price.source, price.created_by) == ("provider/chat", "map.json", "command")
    assert AuditEntry.objects.filter(action="price.add").count() == 1


def test_import_of_all_models(customer: make.Customer, map_file: Path):
    assert "2 prices were written" in manage("import", map_file, "--all", "--apply", "--source", "LiteLLM 1.106.2")
    assert {*Price.objects.values_list("source", flat=True)} == {"LiteLLM 1.106.2"}


def test_b8_change_shows_old_new_and_percent_and_the_last_days_repriced(
    customer: make.Customer, map_file: Path, monkeypatch: pytest.MonkeyPatch
):
    prices.add("provider/chat", Rates(10**9, 8 * 10**9, cached_input=10**8), actor=make.TESTER)
    work(customer, monkeypatch, prompt=1_000, completion=500)
    cached = {
        "prompt_tokens": 1_000,
        "completion_tokens": 0,
        "total_tokens": 1_000,
        "prompt_tokens_details": {"cached_tokens": 1_000},
    }
    work(customer, monkeypatch, usage=read_usage(cached))
    # Untouched by dated prices.
    make.alias("own", provider_model="provider/chat", input_usd_per_mtok=9, output_usd_per_mtok=9, is_open=True)
    work(customer, monkeypatch, model="own")

    shown = manage("import", map_file)

    difference = "input 1.00 → 2.00 (+100.0%), output 8.00 → 4.00 (-50.0%), cached input 0.10 → none"
    assert f"changed   provider/chat: {difference}" in shown
    # 1,000 at 1, 500 at 8 and 1,000 at 0.1 dollars a million, against 2,000 at 2 and 500 at 4.
    assert "2 calls in 30 days cost 0.0051 USD and would have cost 0.006 USD (+17.6%)" in shown


def test_repricing_counts_requests_and_leaves_out_older_calls(
    customer: make.Customer, monkeypatch: pytest.MonkeyPatch
):
    for _ in range(3):
        work(customer, monkeypatch, prompt=1, completion=0)
    steps.at(Call.objects.first(), created_at=-40 * 86_400)
    rates = {"provider/chat": Rates(10**9, 0, per_request=5), "provider/other": Rates(1, 1)}

    found = repricing.last_days(rates, days=30)

    assert found == {"provider/chat": repricing.Repriced(calls=2, cost_nanousd=0, new_cost_nanousd=2 * 1000 + 2 * 5)}


def test_scheduled_import(customer: make.Customer, map_file: Path):
    assert "from 2999-01-01 00:00:00Z" in manage("import", map_file, "--apply", "--valid-from", "2999-01-01")
    assert "There is nothing to change." in manage("import", map_file, "--apply", "--valid-from", "2999-06-01")

    assert prices.in_force("provider/chat") is None
    assert "0 provider models have a price." in manage("list")
    assert "provider/chat: input 2.00, output 4.00" in manage("list", "--at", "2999-01-01T00:00:00Z")
    assert "scheduled: input 2.00, output 4.00 (map.json; command)" in manage("show", "provider/chat")


def test_model_that_the_map_does_not_price_is_named(customer: make.Customer, map_file: Path):
    make.alias("other", provider_model="provider/other")

    assert "left out  provider/other: not in the map" in manage("import", map_file)


def test_price_is_added_in_dollars(db: None):
    shown = manage("add", "Provider/Chat", "--input", "0.15", "--output", "0.6", "--cache-write-1h", "0.000000001")

    assert "provider/chat: input 0.15, output 0.60, cache write 1h 0.000000001, from " in shown
    assert prices.find("provider/chat").rates == Rates(150_000_000, 600_000_000, cache_write_1h=1)
    assert "in force" in manage("show", "PROVIDER/CHAT")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "unknown"),
        ("add", "m", "--input", "x", "--output", "1"),
        ("add", "m", "--input", "NaN", "--output", "1"),
        ("add", "m", "--input", "0.0000000001", "--output", "1"),
        ("add", "m", "--input=-1", "--output", "1"),
        ("add", "m", "--input", "1000000", "--output", "1"),
        ("add", "m", "--input", "1"),
        ("add", "m", "--input", "1", "--output", "1", "--valid-from", "2020-01-01"),
        ("add", "m", "--input", "1", "--output", "1", "--valid-from", "soon"),
        ("add", "modèle", "--input", "1", "--output", "1"),
        ("import", "no/such/file.json"),
        (),
    ],
)
def test_what_cannot_be_is_a_clear_refusal(db: None, arguments: tuple[str, ...]):
    with pytest.raises(CommandError):
        manage(*arguments)
    assert not Price.objects.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe"])
def test_file_that_is_no_map_is_a_clear_refusal(db: None, tmp_path: Path, content: bytes):
    (tmp_path / "map.json").write_bytes(content)

    with pytest.raises(CommandError):
        manage("import", tmp_path / "map.json", "--apply")
