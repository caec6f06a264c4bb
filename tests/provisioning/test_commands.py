"""What operators type at a shell: results on standard output, everything else on standard error."""

import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from apps.catalog import services as catalog
from apps.catalog.models import ModelAlias
from apps.core import clock
from apps.core.models import AuditEntry
from apps.credits import billing
from apps.credits.models import Grant
from apps.teams.models import Team
from apps.virtual_keys import services as virtual_keys
from apps.virtual_keys.models import VirtualKey
from tests import make

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_model_of_the_environment(settings: Any) -> None:
    settings.DEFAULT_MODEL = ""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    """Runs a command; its standard output as NAME=value, or as lines, and its standard error."""

    def run_command(*arguments: str) -> tuple[dict[str, str], str]:
        call_command(*arguments)
        printed = capsys.readouterr()
        return dict(line.split("=", 1) for line in printed.out.splitlines() if "=" in line), printed.err

    return run_command


PROVISION = ("provision", "--organization", "acme-inc", "--team", "acme")


def test_provision_prints_what_a_shell_can_read(run: Any):
    values, said = run(*PROVISION, "--credits", "50")

    assert values["SAAS_LITELLM_TEAM_ID"] == "acme"
    principal = virtual_keys.authenticate(values["SAAS_LITELLM_VIRTUAL_KEY"])
    assert principal.team.team_id == "acme"
    assert principal.organization.organization_id == "acme-inc"
    assert billing.balance(principal.team).posted_micros == 50_000_000
    assert "shown this once" in said


def test_provision_again_prints_no_second_key_and_changes_nothing(run: Any):
    run(*PROVISION, "--credits", "50")
    before = (VirtualKey.objects.count(), AuditEntry.objects.count())

    values, said = run(*PROVISION, "--credits", "50")

    assert values == {"SAAS_LITELLM_TEAM_ID": "acme"}
    assert "--new-key" in said
    assert (VirtualKey.objects.count(), AuditEntry.objects.count()) == before


def test_provision_issues_another_key_on_demand(run: Any):
    first, _ = run(*PROVISION)
    second, _ = run(*PROVISION, "--new-key")

    assert first["SAAS_LITELLM_VIRTUAL_KEY"] != second["SAAS_LITELLM_VIRTUAL_KEY"]
    for values in (first, second):
        assert virtual_keys.authenticate(values["SAAS_LITELLM_VIRTUAL_KEY"]).team.team_id == "acme"


@pytest.mark.parametrize(
    ("model", "alias", "provider_model"),
    [
        ("gpt-4o-mini", "default", "gpt-4o-mini"),
        ("chat=openai/gpt-4o-mini", "chat", "openai/gpt-4o-mini"),
    ],
)
def test_provision_makes_the_platform_s_default_model(run: Any, model: str, alias: str, provider_model: str):
    run(*PROVISION, "--default-model", model)

    found = ModelAlias.objects.get()
    assert (found.name, found.provider_model, found.route) == (alias, provider_model, "litellm")
    assert catalog.resolve(Team.objects.get(), None).alias == alias


def test_provision_gives_models_and_a_default(run: Any):
    for name in ("a", "b"):
        make.alias(name)

    run(*PROVISION, "--model", "a", "--model", "b", "--team-default", "b")

    team = Team.objects.get()
    assert catalog.models_of([team])[team.pk] == catalog.TeamModels(["a", "b"], [], "b")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--credits", "-1"), "--credits must be a whole number from 0 to 1000000000000."),
        (("--credits", "1000000000001"), "--credits must be a whole number from 0 to 1000000000000."),
        (("--credits", "1.5"), "invalid int value"),
        (("--model", "unheard-of"), "Model access group 'unheard-of' not found"),
        (("--team", "no good"), "Must start with a letter or digit"),
        (("--organization", "x" * 256), "Must have at most 255 characters."),
    ],
)
def test_provision_refuses_in_one_line_and_makes_nothing(arguments: tuple[str, ...], text: str):
    with pytest.raises(CommandError) as caught:
        call_command(*PROVISION, *arguments)

    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Team.objects.count() == 0


def test_provision_refuses_another_organization_s_team(run: Any):
    run(*PROVISION)

    with pytest.raises(CommandError, match="Team 'acme' belongs to organization 'acme-inc'"):
        call_command("provision", "--organization", "globex-inc", "--team", "acme")


# --- grant --------------------------------------------------------------------------------------------------


def test_grant_adds_credits_and_says_what_there_is(acme: make.Customer, capsys: pytest.CaptureFixture[str]):
    call_command("grant", "acme", "25", "--reason", "a gift", "--kind", "promotional")

    assert capsys.readouterr().out.strip() == "acme: 125 credits remaining of 125 allocated"
    grant = Grant.objects.get(kind="promotional")
    assert (grant.amount_micros, grant.entry.reason, grant.entry.actor) == (25_000_000, "a gift", "command")
    entry = AuditEntry.objects.get(action="team.credits", reason="a gift")
    assert (entry.actor, entry.after) == ("command", {"credits_allocated": "125"})


def test_grant_with_a_key_grants_once(acme: make.Customer):
    for _ in range(2):
        call_command("grant", "acme", "25", "--reason", "order 7", "--key", "order-7")

    assert billing.balance(acme.team).posted_micros == 125_000_000
    with pytest.raises(CommandError, match="done before with other content"):
        call_command("grant", "acme", "26", "--reason", "order 7", "--key", "order-7")


def test_grant_without_a_key_grants_each_time(acme: make.Customer):
    for _ in range(2):
        call_command("grant", "acme", "25", "--reason", "again")

    assert billing.balance(acme.team).posted_micros == 150_000_000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("unheard-of", "5", "--reason", "x"), "Team 'unheard-of' not found"),
        (("acme", "0", "--reason", "x"), "credits must be a whole number from 1 to 1000000000000."),
        (("acme", "1000000000001", "--reason", "x"), "credits must be a whole number from 1 to 1000000000000."),
        (("acme", "1000000000000", "--reason", "x"), "at most 1000000000000 credits in all"),
        (("acme", "5"), "--reason"),
        (("acme", "5", "--reason", "x", "--kind", "free"), "invalid choice"),
    ],
)
def test_grant_refuses_in_one_line_and_grants_nothing(acme: make.Customer, arguments: tuple[str, ...], text: str):
    with pytest.raises(CommandError) as caught:
        call_command("grant", *arguments)

    assert text in str(caught.value)
    assert billing.balance(acme.team).posted_micros == 100_000_000


# --- issue_key ----------------------------------------------------------------------------------------------


def test_issued_key_has_the_rights_that_were_named(acme: make.Customer, run: Any):
    values, said = run(
        "issue_key", "acme", "--name", "backend", "--scope", "jobs", "--scope", "read", "--model", "gpt",
        "--address", "203.0.113.0/24", "--days", "30",
    )  # fmt: skip

    key = VirtualKey.objects.get(name="backend")
    assert (key.scopes, key.models_allowed, key.addresses_allowed) == (["jobs", "read"], ["gpt"], ["203.0.113.0/24"])
    assert key.expires_at is not None
    assert 29.9 < (key.expires_at - clock.db_now()).total_seconds() / 86_400 <= 30
    secret = values["SAAS_LITELLM_VIRTUAL_KEY"]
    assert virtual_keys.authenticate(secret, address="203.0.113.5").key_id == str(key.pk)
    assert secret not in said
    assert secret not in json.dumps(list(AuditEntry.objects.values()), default=str)


def test_issued_key_has_all_rights_when_none_are_named(acme: make.Customer, run: Any):
    values, _ = run("issue_key", "acme")

    principal = virtual_keys.authenticate(values["SAAS_LITELLM_VIRTUAL_KEY"])
    assert (principal.scopes, principal.models_allowed, principal.networks) == ((), (), ())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("unheard-of",), "Team 'unheard-of' not found"),
        (("acme", "--scope", "admin"), "invalid choice"),
        (("acme", "--address", "here"), "'here' is no IP address or network"),
        (("acme", "--days", "0"), "--days must be a whole number from 1 to 36500."),
        (("acme", "--days", "36501"), "--days must be a whole number from 1 to 36500."),
    ],
)
def test_issue_key_refuses_in_one_line_and_issues_nothing(acme: make.Customer, arguments: tuple[str, ...], text: str):
    with pytest.raises(CommandError) as caught:
        call_command("issue_key", *arguments)

    assert text in str(caught.value)
    assert VirtualKey.objects.count() == 1
