"""Teams in the console: what their list and page say, edits and prices as actions."""

from decimal import Decimal
from uuid import uuid4

import pytest

from apps.catalog import services as catalog
from apps.core.models import AuditEntry
from apps.credits import billing, ledger
from apps.credits.models import RateCardVersion
from apps.teams.models import Team
from tests import make
from tests.console.conftest import confirm, text_of

LIST = "/admin/teams/team/"
EDIT = "/admin/team/acme/edit/"
PRICES = "/admin/team/acme/prices/"


def use(customer, micros: int) -> None:
    """Have a job of the team cost this."""
    ledger.charge(customer.team, job=str(uuid4()), amount_micros=micros, actor="test")


def shown(browser, **query) -> dict[str, dict[str, str]]:
    """The list's cells by team and column, as the page shows them."""
    table = browser.get(LIST, query).context["table"]
    rows = [{column.label: (str(cell), column.export) for column, cell in cells} for cells in table]
    return {row["Team"][0].split("/team/")[1].split("/")[0]: {k: v[0] for k, v in row.items()} for row in rows}


# --- The list -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "word"), [(0, "ok"), (49, "ok"), (50, "fair"), (79, "fair"), (80, "low"), (89, "low"), (90, "critical")]
)
def test_balance_word_says_what_share_is_left(ana, acme, used, word):
    if used:
        use(acme, used * 1_000_000)
    cells = shown(ana)["acme"]
    assert f"{word}</span>" in cells["Available"]
    assert list(shown(ana, balance=word)) == ["acme"]


def test_team_that_was_never_given_credits_has_no_word(ana):
    make.customer(team_id="poor", credits=0)
    assert shown(ana)["poor"]["Available"] == "0"


def test_largest_balance_has_a_word(ana):
    make.customer(team_id="rich", credits=10**12)
    assert "ok</span>" in shown(ana)["rich"]["Available"]


def test_critical_teams_come_first(ana, acme, globex):
    use(globex, 95_000_000)
    assert list(shown(ana)) == ["globex", "acme"]


def test_filters(ana, acme, globex):
    Team.objects.filter(team_id="globex").update(status="paused")
    assert list(shown(ana, state="paused")) == ["globex"]
    assert list(shown(ana, organization=acme.organization.organization_id)) == ["acme"]
    assert set(shown(ana, quiet="30d")) == {"acme", "globex"}
    assert list(shown(ana, q="glob")) == ["globex"]


def test_filter_that_means_nothing_is_said(ana, acme):
    page = ana.get(LIST, {"balance": "gold"})
    assert "Ignored" in text_of(page)
    assert len(page.context["table"]) == 1


def test_export_has_exact_amounts(ana, acme):
    use(acme, 1_500_000)
    body = b"".join(ana.post(LIST).streaming_content).decode()
    assert "acme" in body
    assert "98.5" in body


# --- The page -----------------------------------------------------------------------------------------------


def test_sentence_says_what_is_available(ana, acme):
    page = text_of(ana.get("/admin/team/acme/"))
    assert "Active. 100 credits available; nothing was spent in 7 days." in page
    assert "posted 100 − held 0 = available 100" in page


def test_team_of_a_suspended_organization_says_so(ana, acme):
    type(acme.organization).objects.update(status="suspended", status_reason="unpaid")
    assert "Suspended with its organization: “unpaid”." in text_of(ana.get("/admin/team/acme/"))


def test_wallet_explains_what_is_held(ana, acme):
    ledger.hold(acme.team, job="0192e4a0-0000-7000-8000-000000000000", amount_micros=4_000_000)
    page = text_of(ana.get("/admin/team/acme/wallet/"))
    assert "posted 100 − held 4 = available 96" in page
    assert "0192e4a0-0000-7000-8000-000000000000" in page


def test_rate_cards_tab_says_which_wins(ana, acme):
    assert "the platform&#x27;s default" in text_of(ana.get("/admin/team/acme/rate-cards/"))
    billing.change_plan(acme.team, actor=make.TESTER, budget_mode="consumption_tokens", tokens_per_credit=500)
    page = text_of(ana.get("/admin/team/acme/rate-cards/"))
    assert "500 tokens per credit" in page
    assert "team acme, version 1" in page


def test_revoked_keys_are_behind_a_link(ana, acme):
    from apps.virtual_keys import services
    from apps.virtual_keys.models import VirtualKey

    services.revoke(VirtualKey.objects.get(), actor=make.TESTER)
    assert "No active key: this team cannot call. Issue one." in text_of(ana.get("/admin/team/acme/keys/"))
    assert "revoked" in text_of(ana.get("/admin/team/acme/keys/?revoked=yes"))


def test_plain_address_leads_here(ana, acme):
    assert ana.get(f"/admin/teams/team/{acme.team.pk}/change/").url == "/admin/team/acme/"


@pytest.mark.parametrize(
    ("role", "labels"),
    [
        ("owner", ["Grant", "Suspend", "Pause", "Edit"]),
        ("billing", ["Grant"]),
        ("viewer", []),
    ],
)
def test_buttons_are_for_those_with_the_right(browser_of, acme, role, labels):
    page = browser_of(role).get("/admin/team/acme/")
    assert [button.label for button in page.context["buttons"]] == labels


# --- Models --------------------------------------------------------------------------------------------------


def tried(browser, name: str):
    return browser.get("/admin/team/acme/models/", {"name": name}).context["explained"]


def test_alias_that_is_open_resolves(ana, acme):
    said = tried(ana, "chat-default")
    assert said.model.alias == "chat-default"
    assert said.steps == [
        "There is an active alias “chat-default”; it goes before a model group of that name.",
        "It is open to every team.",
    ]


def test_alias_that_was_not_given_is_refused_in_the_words_of_a_call(ana, acme):
    make.alias("gpt")
    said = tried(ana, "gpt")
    assert said.model is None
    assert said.refusal == "Team 'acme' does not have access to model alias 'gpt'"
    assert said.steps[-1] == "The team was given neither it nor an access group that holds it."


def test_access_group_and_its_state_are_named(ana, acme):
    make.alias("gpt")
    make.access_group("basic", "gpt")
    catalog.set_team_models(acme.team, access_groups=["basic"], actor=make.TESTER)
    assert "through the access group “basic”" in tried(ana, "gpt").steps[-1]
    from apps.catalog import access_groups

    access_groups.update("basic", actor=make.TESTER, status="inactive")
    said = tried(ana, "gpt")
    assert said.model is None
    assert said.steps[-1] == "The team's access group “basic” holds it, and is inactive."


def test_model_group_names_what_follows_when_the_first_fails(ana, acme):
    make.alias("one")
    make.alias("two")
    make.model_group("agent", "one", "two")
    assert tried(ana, "agent").steps[-1] == "There is a model group “agent”, which the team was not given."
    catalog.set_team_models(acme.team, model_groups=["agent"], actor=make.TESTER)
    said = tried(ana, "agent")
    assert [each.alias for each in said.model.candidates] == ["one", "two"]
    assert "2 of its models can answer" in said.steps[-1]


@pytest.mark.parametrize("name", ["", "nothing", "a\x00b", "<script>", "x" * 5000])
def test_any_name_is_explained(ana, acme, name):
    page = ana.get("/admin/team/acme/models/", {"name": name})
    assert page.status_code == 200
    assert page.context["explained"].steps
    assert "<script>alert" not in text_of(page)


def test_default_is_starred(ana, acme):
    page = text_of(ana.get("/admin/team/acme/models/"))
    assert '<bdi>chat-default</bdi> <span title="default">★' in page


# --- Edit ----------------------------------------------------------------------------------------------------


def edit(browser, **typed):
    return confirm(browser, EDIT, **({"alias": "", "metadata": "{}"} | typed))


def test_edit_changes_names_models_and_metadata_with_audit(ana, acme):
    make.alias("gpt")
    make.access_group("basic", "gpt")
    done = edit(ana, alias="Acme Ltd", metadata='{"plan": "gold"}', access_groups=["basic"], default_model="gpt")
    assert (done.status_code, done.url) == (303, "/admin/team/acme/")
    team = Team.objects.get(pk=acme.team.pk)
    assert (team.alias, team.metadata) == ("Acme Ltd", {"plan": "gold"})
    models = catalog.models_of([team])[team.pk]
    assert (models.access_groups, models.default_model) == (["basic"], "gpt")
    row = AuditEntry.objects.get(action="team.update")
    assert row.after == {"alias": "Acme Ltd", "metadata": {"plan": "gold"}}
    assert (row.actor, row.address) == ("operator:ana@example.com", "127.0.0.1")


def test_edit_takes_away_what_is_no_longer_chosen(ana, acme):
    make.alias("gpt")
    catalog.set_team_models(acme.team, access_groups=["gpt"], actor=make.TESTER)
    catalog.set_team_default(acme.team, "gpt", actor=make.TESTER)
    edit(ana)
    models = catalog.models_of([acme.team])[acme.team.pk]
    assert (models.access_groups, models.default_model) == ([], None)


@pytest.mark.parametrize(
    "metadata",
    ["[1]", '"text"', "{", '{"a": NaN}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[" * 100_000, "1" * 5000],
    ids=["list", "text", "cut", "nan", "nul", "surrogate", "bomb", "number"],
)
def test_metadata_that_cannot_be_stored_is_refused(ana, acme, metadata):
    page = edit(ana, metadata=metadata)
    assert page.context["form"].errors["metadata"]
    assert Team.objects.get(pk=acme.team.pk).metadata == {}


def test_team_that_changed_meanwhile_is_not_overwritten(ana, acme):
    page = ana.get(EDIT)
    form = {"once": str(page.context["form"]["once"].value()), "seen": page.context["preview"].seen}
    Team.objects.filter(team_id="acme").update(alias="theirs")
    page = ana.post(EDIT, form | {"alias": "mine", "metadata": "{}"})
    assert page.status_code == 409
    assert Team.objects.get(team_id="acme").alias == "theirs"


def test_unknown_default_changes_nothing(ana, acme):
    page = edit(ana, alias="Other", default_model="nothing")
    assert page.status_code == 422
    assert Team.objects.get(team_id="acme").alias == ""


def test_closed_team_is_not_edited(ana, acme):
    Team.objects.update(status="closed")
    assert ana.get(EDIT).status_code == ana.get(PRICES).status_code == 409


# --- Prices --------------------------------------------------------------------------------------------------


def price(browser, **typed):
    return confirm(browser, PRICES, **({"budget_mode": "job_based"} | typed))


def test_new_prices_are_in_force_and_audited(ana, acme):
    done = price(ana, budget_mode="consumption_usd", credits_per_dollar="2.5", cost_markup_percentage="12.5")
    assert done.status_code == 303
    plan = billing.plan(acme.team)
    assert (plan.budget_mode, plan.micros_per_usd, plan.markup_ppm) == ("consumption_usd", 2_500_000, 125_000)
    row = AuditEntry.objects.get(action="team.pricing")
    assert (row.actor, row.address) == ("operator:ana@example.com", "127.0.0.1")


def test_unchanged_prices_make_no_version(ana, acme):
    page = price(ana)
    assert page.status_code == 422
    assert "Nothing is different" in text_of(page)
    assert not RateCardVersion.objects.exists()


def test_rate_left_empty_stays(ana, acme):
    billing.change_plan(acme.team, actor=make.TESTER, credits_per_dollar=Decimal(7))
    price(ana, credits_per_dollar="", tokens_per_credit="9")
    plan = billing.plan(acme.team)
    assert (plan.micros_per_usd, plan.tokens_per_credit) == (7_000_000, 9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("budget_mode", "free_for_all"),
        ("credits_per_dollar", "0"),
        ("credits_per_dollar", "-1"),
        ("credits_per_dollar", "0.0000001"),
        ("credits_per_dollar", "NaN"),
        ("tokens_per_credit", "0"),
        ("tokens_per_credit", "1.5"),
        ("cost_markup_percentage", "-1"),
        ("cost_markup_percentage", "100001"),
    ],
)
def test_wrong_rates_are_refused_at_their_field(ana, acme, field, value):
    page = price(ana, **{field: value})
    assert page.context["form"].errors[field]
    assert not RateCardVersion.objects.exists()


@pytest.mark.parametrize(
    ("role", "edits", "prices"), [("support", 403, 403), ("billing", 403, 200), ("admin", 200, 200)]
)
def test_edit_and_prices_need_their_rights(browser_of, acme, role, edits, prices):
    browser = browser_of(role)
    assert (browser.get(EDIT).status_code, browser.get(PRICES).status_code) == (edits, prices)
    assert browser.post(EDIT, {}).status_code == (edits if edits == 403 else 422)
