"""Closed months over HTTP."""

from datetime import timedelta

from apps.core import clock


def test_close_and_list(acme, operator, monkeypatch):
    now = clock.db_now()
    name = f"{now:%Y-%m}"
    early = operator.post("/api/periods/close", {"period": name})
    monkeypatch.setattr(clock, "db_now", lambda: now + timedelta(days=40))

    closed = operator.post("/api/periods/close", {"period": name}).json()

    assert (early.status_code, early.json()["code"]) == (409, "period_not_closable")
    assert (closed["period"], closed["accounts"]) == (name, 1)
    assert operator.get("/api/periods").json() == {"total": 1, "limit": 24, "offset": 0, "periods": [closed]}


def test_bad_month_names_the_field(operator):
    answer = operator.post("/api/periods/close", {"period": "soon"})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "period"]


def test_keys_close_nothing(acme, team_key):
    assert team_key.post("/api/periods/close", {"period": "2026-01"}).status_code == 401
    assert team_key.get("/api/periods").status_code == 401
