"""The benchmark runs, checks its answers and loses no CPU. Figures are printed by it, never asserted here."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from benchmarks import bench, compare, held, ledger, measure, report, sampler, steps, usage
from benchmarks.load import percentile
from tests.harness import processes, services

ROW = report.Row(
    workload="llm-call",
    clients=1,
    calls=100,
    seconds=1.0,
    calls_per_s=100.0,
    p50_ms=10.0,
    p99_ms=20.0,
    cpu_ms={"web": 2.0, "worker": 2.0, "beat": 0.0, "postgresql": None, "redis": 0.5, "load": 1.0, "provider": 1.0},
    cpu_sum_ms=4.5,
    elsewhere_share=0.1,
    yardstick_ms=20.0,
    errors=0,
    error_samples=(),
)


@pytest.mark.services
def test_answers_are_measured_and_a_refused_caller_makes_the_run_fail(capsys: pytest.CaptureFixture[str]) -> None:
    # Of four web threads three may wait for calls, so that two clients fit and four do not.
    arguments = ["--seconds", "0.2", "--warmup", "0.1", "--clients", "2,4", "--teams", "2", "--web-threads", "4"]

    http = [option for workload in ("llm-call", "workflow", "stream") for option in ("--workload", workload)]
    assert bench.main([*arguments, *http, "--json"]) == 1

    printed = capsys.readouterr()
    rows = {(row["workload"], row["clients"]): row for row in json.loads(printed.out)["rows"]}
    assert [*rows] == [
        ("llm-call", 2),
        ("llm-call", 4),
        ("workflow", 2),
        ("workflow", 4),
        ("stream", 2),
        ("stream", 4),
    ]
    for workload in ("llm-call", "workflow", "stream"):
        assert (rows[workload, 2]["calls"] > 0, rows[workload, 2]["errors"]) == (True, 0)
        assert {*rows[workload, 2]["cpu_ms"]} == {*report.PARTS, *report.APART}
    streams = rows["stream", 2]
    assert streams["chunks"] > streams["calls"]
    assert streams["first_p50_ms"] > streams["direct_first_p50_ms"] > 0
    assert rows["llm-call", 4]["errors"] > 0
    assert "llm-call: 503" in printed.err


@pytest.mark.services
def test_ledger_is_measured_beside_the_same_rows_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--seconds", "0.1", "--clients", "1,64", "--wallets", "5"]
    arguments += ["--workload", "ledger-hot", "--workload", "ledger-wide", "--json"]

    assert bench.main(arguments) == 0

    printed = json.loads(capsys.readouterr().out)
    found = printed["ledger"]
    # Threads of one process are no more than help.
    assert [(row["workload"], row["wallets"], row["clients"]) for row in found["rows"]] == [
        ("ledger-hot", 1, 1),
        ("ledger-hot", 1, 8),
        ("ledger-wide", 5, 1),
        ("ledger-wide", 5, 8),
    ]
    assert all(row["jobs_per_s"] > 0 and row["by_hand_per_s"] > 0 and row["ratio"] > 0 for row in found["rows"])
    assert printed["rows"] == found["differences"] == []
    assert "ledger-wide" in ledger.table(found)


@pytest.mark.services
def test_streams_are_held_all_at_once_and_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert held.main(["--streams", "6", "--prompt-bytes", "1000"]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith("6 of 6 streams whole; web process ")
    assert "kB a stream" in printed


@pytest.mark.services
def test_every_step_has_its_figures(capfd: pytest.CaptureFixture[str]) -> None:
    assert steps.main(["--runs", "1"]) == 0

    printed = capfd.readouterr().out
    for step in ("authenticate", "admit", "publish", "wait, answer", "claim", "settle", "complete"):
        assert f"\n| {step} | " in printed


@pytest.mark.services
def test_cpu_of_a_backend_that_ends_is_not_lost() -> None:
    with services.temporary_database("saas_bench_test") as url:
        server = usage.Postgres(url)
        with psycopg.connect(url) as connection:
            connection.execute("SELECT sum(n) FROM generate_series(1, 1000000) AS n")
            backend = connection.info.backend_pid
            before = _usage(server, lambda living: backend in living)
        after = _usage(server, lambda living: backend not in living)
        server.close()

    assert usage.postgres_seconds(before, after) >= 0


def _usage(server: usage.Postgres, is_reached: Callable[[Any], bool]) -> usage.PostgresUsage:
    for _ in range(1000):
        found = server.usage()
        assert found is not None
        if is_reached(found.living_s):
            return found
    raise AssertionError("the backend did not come or go")


def test_backends_of_other_databases_are_left_out() -> None:
    before = usage.PostgresUsage(main_s=10.0, living_s={1: 1.0, 2: 5.0}, foreign=frozenset({2}))
    after = usage.PostgresUsage(main_s=10.5, living_s={1: 2.0, 2: 9.0, 3: 4.0}, foreign=frozenset({2, 3}))

    assert usage.postgres_seconds(before, after) == pytest.approx(1.5)


def test_a_wrong_answer_is_an_error_and_no_call() -> None:
    # The provider knows none of the product's paths and answers 404.
    provider = processes.start_fake_provider()
    with measure.running_load() as load:
        load.ask("prepare", url=provider.url, clients=2, teams=[("t", "k")], workload="workflow", calls=0)
        result = load.ask("run", workload="workflow", seconds=0.1)
    provider.kill()

    assert (result["calls"], result["errors"] > 0) == (0, True)
    assert result["error_samples"][0].startswith("WrongAnswer: create: 404")


def test_a_failed_load_generator_is_told_with_its_log() -> None:
    with (
        measure.running_load() as load,
        pytest.raises(measure.LoadFailed, match=r"(?s)failed to dance.*AttributeError"),
    ):
        load.ask("dance")


@pytest.mark.parametrize(
    ("row", "code"),
    [(ROW, 0), (replace(ROW, errors=1, error_samples=["llm-call: 500"]), 1), (replace(ROW, calls=0), 1)],
)
def test_a_run_with_errors_or_without_calls_fails(row: report.Row, code: int) -> None:
    assert bench.verdict([ROW, row]) == code


def test_missing_services_are_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_REDIS_URL", "redis://127.0.0.1:1/9")
    monkeypatch.delenv("CI", raising=False)

    assert (bench.main([]), steps.main([])) == (2, 2)
    assert "Redis at redis://127.0.0.1:1/9: " in capsys.readouterr().out


def test_comparing_with_an_unknown_commit_is_refused() -> None:
    with pytest.raises(compare.NoSuchCommit, match="no-such-commit"), compare.worktree("no-such-commit"):
        pass


def test_ratios_are_of_pairs_and_leave_out_what_cannot_be_seen() -> None:
    pairs = [(ROW, replace(ROW, cpu_sum_ms=9.0)), (replace(ROW, cpu_sum_ms=10.0), replace(ROW, cpu_sum_ms=5.0))]

    found = {ratio["figure"]: ratio for ratio in report.ratios(pairs)}

    assert (found["CPU a call"]["min"], found["CPU a call"]["max"]) == (0.5, 2.0)
    assert "CPU of PostgreSQL" not in found


def test_table_has_a_dash_for_what_cannot_be_seen() -> None:
    head, line = report.table([ROW]).splitlines()

    assert len(head) == len(line)
    assert line.split()[5:11] == ["2.00", "2.00", "0.00", "-", "0.50", "4.50"]


def test_percentile_is_by_nearest_rank() -> None:
    hundred = [float(number) for number in range(1, 101)]

    assert (percentile(hundred, 50), percentile(hundred, 99), percentile([], 99)) == (50.0, 99.0, 0.0)


def test_hot_functions_count_a_recursion_once() -> None:
    samples = sampler.read_stacks("process 1:web;a;b;b 3\nprocess 2:odd\ntitle;\na 1\n")

    assert samples == Counter({("a", "b", "b"): 3, ("a",): 1})
    assert sampler.hot_functions(samples).splitlines()[1:] == [
        "      100.0%   25.0%  a",
        "       75.0%   75.0%  b",
    ]
