"""The REST contract's URLs. Canonical paths have no trailing slash; one is tolerated, never redirected."""

from typing import Any

from django.urls import URLPattern, include, re_path

from apps.api import (
    access_groups,
    aliases,
    allowances,
    calls,
    corrections,
    credit_aliases,
    credits,
    decisions,
    job_reports,
    jobs,
    keys,
    limits,
    margin,
    model_groups,
    organizations,
    periods,
    pools,
    prices,
    pricing,
    provider_credentials,
    quotes,
    rate_cards,
    receipts,
    statements,
    stats,
    streams,
    teams,
    usage,
    vouchers,
)


def route(path: str, view: Any) -> URLPattern:
    """A path with `{name}` parts, each one segment, with or without a slash at its end.

    A NUL is part of no id, and PostgreSQL would refuse to look for it.
    """
    pattern = "".join(rf"(?P<{part[1:-1]}>[^/\x00]+)" if part.startswith("{") else part for part in _split(path))
    routed: URLPattern = re_path(rf"^{pattern}/?$", view.as_view())
    return routed


def _split(path: str) -> list[str]:
    parts: list[str] = []
    for segment in path.split("/"):
        parts += [segment, "/"]
    return parts[:-1]


# Under jobs/, where what follows `teams` or `organizations` may be any word, also one that ends another route there.
_reports = [
    route("teams/{team_id}", job_reports.TeamJobList),
    route("teams/{team_id}/{job_id}", job_reports.TeamJob),
    route("organizations/{organization_id}/stats", stats.OrganizationStats),
    route("organizations/{organization_id}/analytics", stats.OrganizationAnalytics),
]

# Words before ids: they are reserved, so that no team or organization can be called like a route. The call path comes
# first, since a path is compared with one pattern after the other.
urlpatterns = [
    re_path(r"^jobs/(?=teams/|organizations/)", include(_reports)),
    route("jobs/create", jobs.CreateJob),
    route("jobs/create-and-call", calls.CreateAndCall),
    route("jobs/create-and-call-stream", streams.CreateAndCallStream),
    route("jobs/{job_id}", jobs.OneJob),
    route("jobs/{job_id}/llm-call", calls.LlmCall),
    route("jobs/{job_id}/llm-call-stream", streams.LlmCallStream),
    route("jobs/{job_id}/complete", jobs.CompleteJob),
    route("jobs/{job_id}/cancel", jobs.CancelJob),
    route("jobs/{job_id}/receipt", receipts.JobReceipt),
    route("jobs/{job_id}/metadata", jobs.JobMetadata),
    route("jobs/{job_id}/costs", jobs.JobCosts),
    route("jobs/{job_id}/calls/{call_id}", calls.OneCall),
    route("stats/dashboard", stats.Dashboard),
    route("margin", margin.MarginReport),
    route("organizations", organizations.OrganizationList),
    route("organizations/create", organizations.CreateOrganization),
    route("organizations/{organization_id}", organizations.OneOrganization),
    route("organizations/{organization_id}/teams", organizations.OrganizationTeams),
    route("organizations/{organization_id}/usage", usage.OrganizationUsage),
    route("organizations/{organization_id}/costs", usage.OrganizationCosts),
    route("organizations/{organization_id}/statements/{period}", statements.OrganizationStatement),
    route("organizations/{organization_id}/status", organizations.OrganizationStatus),
    route("organizations/{organization_id}/suspend", organizations.SuspendOrganization),
    route("organizations/{organization_id}/resume", organizations.ResumeOrganization),
    route("teams", teams.TeamList),
    route("teams/create", teams.CreateTeam),
    route("teams/verify", teams.VerifyKey),
    route("teams/{team_id}", teams.OneTeam),
    route("teams/{team_id}/access-groups", teams.TeamAccessGroups),
    route("teams/{team_id}/model-groups", teams.TeamModelGroups),
    route("teams/{team_id}/markup", pricing.TeamMarkup),
    route("teams/{team_id}/suspend", teams.SuspendTeam),
    route("teams/{team_id}/resume", teams.ResumeTeam),
    route("teams/{team_id}/pause", teams.PauseTeam),
    route("teams/{team_id}/jobs", jobs.TeamJobs),
    route("teams/{team_id}/usage", usage.TeamUsage),
    route("teams/{team_id}/credits", credits.TeamBalance),
    route("teams/{team_id}/credits/transactions", credits.TeamTransactions),
    route("teams/{team_id}/statements/{period}", statements.TeamStatement),
    route("teams/{team_id}/keys", keys.TeamKeys),
    route("teams/{team_id}/keys/{key_id}", keys.OneKey),
    route("teams/{team_id}/keys/{key_id}/rotate", keys.RotateKey),
    route("models", aliases.AliasList),
    route("models/create", aliases.CreateAlias),
    route("models/{alias}", aliases.OneAlias),
    route("model-aliases", aliases.ListByLitellmModel),
    route("model-aliases/create", aliases.CreateByLitellmModel),
    route("model-aliases/{alias}", aliases.OneByLitellmModel),
    route("model-access-groups", access_groups.AccessGroupList),
    route("model-access-groups/create", access_groups.CreateAccessGroup),
    route("model-access-groups/{group}", access_groups.OneAccessGroup),
    route("model-access-groups/{group}/models", access_groups.AccessGroupModels),
    route("model-access-groups/{group}/add-models", access_groups.AddModels),
    route("model-access-groups/{group}/remove-models", access_groups.RemoveModels),
    route("model-groups", model_groups.ModelGroupList),
    route("model-groups/create", model_groups.CreateModelGroup),
    route("model-groups/{group}", model_groups.OneModelGroup),
    route("model-groups/{group}/models", model_groups.ModelGroupModels),
    route("model-groups/{group}/resolve", model_groups.ResolveModelGroup),
    route("provider-credentials", provider_credentials.CredentialList),
    route("provider-credentials/create", provider_credentials.CreateCredential),
    route("provider-credentials/organization/{organization_id}", provider_credentials.OrganizationCredentials),
    route(
        "provider-credentials/organization/{organization_id}/provider/{provider}",
        provider_credentials.OrganizationCredential,
    ),
    route("provider-credentials/{credential_id}", provider_credentials.OneCredential),
    route("provider-credentials/{credential_id}/activate", provider_credentials.ActivateCredential),
    route("provider-credentials/{credential_id}/deactivate", provider_credentials.DeactivateCredential),
    route("vouchers", vouchers.VoucherList),
    route("vouchers/redeem", vouchers.RedeemVoucher),
    route("vouchers/{voucher_id}", vouchers.OneVoucher),
    route("periods", periods.PeriodList),
    route("periods/close", periods.ClosePeriod),
    route("prices", prices.Prices),
    route("pricing", prices.PricesInForce),
    route("quotes", quotes.Quotes),
    route("rate-cards", rate_cards.RateCardList),
    route("rate-cards/effective", rate_cards.EffectiveRateCard),
    route("rate-cards/{card_id}", rate_cards.OneRateCard),
    route("rate-cards/{card_id}/versions", rate_cards.RateCardVersions),
    route("rate-cards/{card_id}/versions/{number}", rate_cards.OneRateCardVersion),
    route("rate-cards/{card_id}/versions/{number}/activate", rate_cards.ActivateVersion),
    route("limits", limits.LimitList),
    route("limits/effective", limits.EffectiveLimits),
    route("limits/{limit_id}", limits.OneLimit),
    route("limits/{limit_id}/raise", limits.RaiseLimit),
    route("decisions", decisions.DecisionList),
    route("decisions/{decision_id}", decisions.OneDecision),
    route("credits/balance", credit_aliases.Balance),
    route("credits/transactions", credit_aliases.Transactions),
    route("credits/trends", credit_aliases.Trends),
    route("credits/utilization", stats.CreditUtilization),
    route("credits/teams/{team_id}/balance", credits.TeamBalance),
    route("credits/teams/{team_id}/add", credits.AddCredits),
    route("credits/teams/{team_id}/replenish", credits.Replenish),
    route("credits/teams/{team_id}/configure-auto-refill", allowances.ConfigureAutoRefill),
    route("credits/teams/{team_id}/scheduled-grants", allowances.ScheduledGrants),
    route("credits/teams/{team_id}/scheduled-grants/{grant_id}", allowances.OneScheduledGrant),
    route("credits/teams/{team_id}/transactions", credits.TeamTransactions),
    route("credits/teams/{team_id}/check", credits.CheckCredits),
    route("credits/teams/{team_id}/grants", credits.TeamGrants),
    route("credits/teams/{team_id}/credit-line", credits.CreditLine),
    route("credits/organizations/{organization_id}/add", pools.FundPool),
    route("credits/organizations/{organization_id}/balance", pools.PoolBalance),
    route("credits/organizations/{organization_id}/transactions", pools.PoolTransactions),
    route("credits/organizations/{organization_id}/allocate", pools.Allocate),
    route("credits/organizations/{organization_id}/reclaim", pools.Reclaim),
    route("credits/entries/{transaction_id}/refund", corrections.RefundEntry),
    route("credits/entries/{transaction_id}/reverse", corrections.ReverseEntry),
    route("credits/teams/{team_id}/budget-mode", pricing.TeamBudgetMode),
    route("credits/teams/{team_id}/conversion-rates", pricing.ConversionRates),
]
