"""Credits under their other paths."""

from datetime import timedelta

import pytest

from apps.core import clock
from apps.jobs.models import Job
from tests.analytics import rows
from tests.api.calling import located


@pytest.mark.parametrize(
    ("alias", "path"),
    [
        ("/api/credits/balance?team_id=acme", "/api/credits/teams/acme/balance"),
        ("/api/teams/acme/credits", "/api/credits/teams/acme/balance"),
        ("/api/credits/transactions?team_id=acme&limit=1", "/api/credits/teams/acme/transactions?limit=1"),
        ("/api/teams/acme/credits/transactions", "/api/credits/teams/acme/transactions"),
    ],
)
def test_aliases_answer_as_what_they_stand_for(acme, operator, team_key, stranger, alias, path):
    assert operator.get(alias).json() == operator.get(path).json()
    assert team_key.get(alias).json() == team_key.get(path).json()
    assert stranger.get(alias).status_code == 403


@pytest.mark.parametrize("what", ["balance", "transactions", "trends"])
def test_a_key_need_not_name_its_team(acme, team_key, operator, what):
    assert team_key.get(f"/api/credits/{what}").json()["team_id"] == "acme"
    assert located(operator.get(f"/api/credits/{what}")) == [["query", "team_id"]]
    assert operator.get(f"/api/credits/{what}?team_id=nobody").status_code == 404


def test_trends_have_every_day(acme, globex, team_key):
    today = clock.now()
    for days, credits in ((0, 2), (1, 3), (1, 1), (5, 50)):
        job = rows.job(acme, credits=credits)
        Job.objects.filter(pk=job.pk).update(created_at=today - timedelta(days=days))

    body = team_key.get("/api/credits/trends?days=3").json()

    assert (body["days"], body["total_credits_used"]) == (3, 6)
    assert [(day["date"], day["credits_used"], day["jobs"]) for day in body["trends"]] == [
        (f"{today - timedelta(days=2):%Y-%m-%d}", 0, 0),
        (f"{today - timedelta(days=1):%Y-%m-%d}", 4, 2),
        (f"{today:%Y-%m-%d}", 2, 1),
    ]


@pytest.mark.parametrize("days", ["0", "367", "x", "", "9999"])
def test_bad_numbers_of_days_are_refused(team_key, days):
    assert located(team_key.get(f"/api/credits/trends?days={days}")) == [["query", "days"]]
