"""Teams: made once, suspended, paused and resumed; closed for ever."""

from typing import Any

import pytest

from apps.core.errors import InvalidField
from apps.core.models import AuditEntry
from apps.teams import services as teams
from apps.teams.errors import TeamClosed, TeamExists, TeamNotActive, TeamNotFound
from apps.teams.models import Team
from tests import make

pytestmark = pytest.mark.django_db


def create(team_id: str = "acme", **more: Any) -> Team:
    organization = more.pop("organization", None) or make.organization()
    return teams.create(organization, team_id=team_id, actor=make.TESTER, **more)


def audited(action: str) -> list[tuple[dict, dict]]:
    return list(AuditEntry.objects.filter(action=action).order_by("id").values_list("before", "after"))


def test_team_is_active_and_audited():
    made = create(alias="Acme", metadata={"tier": "gold"})

    found = teams.find("acme")
    assert (found, found.status, found.alias, found.metadata) == (made, "active", "Acme", {"tier": "gold"})
    assert audited("team.create") == [({}, {"organization_id": made.organization.organization_id, "alias": "Acme"})]


def test_id_is_never_given_twice_not_even_in_another_organization():
    create()

    with pytest.raises(TeamExists) as caught:
        create()

    assert str(caught.value) == "Team 'acme' already exists"


def test_id_of_a_closed_team_is_not_given_again():
    teams.set_status(create(), status="closed", actor=make.TESTER)

    with pytest.raises(TeamExists):
        create()


@pytest.mark.parametrize("team_id", ["", "no good", "a/b", "verify", "Create", "x" * 256, "-a"])
def test_id_that_cannot_be_one_is_refused(team_id: str):
    with pytest.raises(InvalidField) as caught:
        create(team_id)

    assert caught.value.errors[0]["loc"] == ["body", "team_id"]
    assert Team.objects.count() == 0


def test_unknown_team_is_not_found():
    with pytest.raises(TeamNotFound, match="Team 'acme' not found"):
        teams.find("acme")


# --- State --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("team", "organization", "said"),
    [
        ("active", "active", None),
        ("suspended", "active", "suspended"),
        ("paused", "active", "paused"),
        ("closed", "active", "closed"),
        ("active", "suspended", "suspended"),
        ("paused", "suspended", "suspended"),
    ],
)
def test_team_takes_on_work_when_it_and_its_organization_are_active(team: str, organization: str, said: str | None):
    if said is None:
        teams.require_active(team, organization)
        return
    with pytest.raises(TeamNotActive) as caught:
        teams.require_active(team, organization)
    assert str(caught.value) == f"Team access is {said}. Please contact support."


def test_each_change_of_state_is_audited_once():
    made = create()
    for status in ("suspended", "suspended", "paused", "active", "active"):
        changed = teams.set_status(made, status=status, actor=make.TESTER, reason="")
        assert changed.status == Team.objects.get().status == status

    assert audited("team.status") == [
        ({"status": "active"}, {"status": "suspended"}),
        ({"status": "suspended"}, {"status": "paused"}),
        ({"status": "paused"}, {"status": "active"}),
    ]


@pytest.mark.parametrize("status", ["active", "suspended", "paused"])
def test_closed_team_stays_closed(status: str):
    made = create()
    teams.set_status(made, status="closed", actor=make.TESTER)

    with pytest.raises(TeamClosed, match=f"Team 'acme' is closed and cannot be {status}"):
        teams.set_status(made, status=status, actor=make.TESTER)

    assert Team.objects.get().status == "closed"
    assert teams.set_status(made, status="closed", actor=make.TESTER).status == "closed"


# --- Names --------------------------------------------------------------------------------------------------


def test_change_is_audited_with_what_changed_alone():
    made = create(alias="Acme", metadata={"tier": "gold"})

    teams.update(made, actor=make.TESTER, alias="Acme 2", metadata={"tier": "gold"})
    teams.update(made, actor=make.TESTER, metadata={})
    teams.update(made, actor=make.TESTER)

    found = Team.objects.get()
    assert (found.alias, found.metadata) == ("Acme 2", {})
    assert audited("team.update") == [
        ({"alias": "Acme"}, {"alias": "Acme 2"}),
        ({"metadata": {"tier": "gold"}}, {"metadata": {}}),
    ]


def test_list_leaves_closed_teams_out():
    organization = make.organization()
    for team_id in ("c", "a", "b"):
        create(team_id, organization=organization)
    create("elsewhere")
    teams.set_status(teams.find("b"), status="closed", actor=make.TESTER)

    assert [team.team_id for team in list(teams.matching(organization=organization)[:10])] == ["a", "c"]
    assert [team.team_id for team in list(teams.matching()[:10])] == ["a", "c", "elsewhere"]
    assert [team.team_id for team in list(teams.matching()[1:2])] == ["c"]
    assert teams.count(organization) == 2
