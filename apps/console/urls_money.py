"""The pages and actions of Money. Actions come before the tabs of the same object."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern


def patterns(at: Callable[[str, Any, str], URLPattern]) -> list[URLPattern]:
    from apps.console.actions import corrections, credits, pools
    from apps.console.pages import entry, ledger

    return [
        at("team/<str:team_id>/grant/", credits.GrantCredits, "team_grant"),
        at("team/<str:team_id>/adjust/", credits.AdjustCredits, "team_adjust"),
        at("team/<str:team_id>/credit-line/", credits.SetCreditLine, "team_credit_line"),
        at("team/<str:team_id>/allocate/", pools.Allocate, "team_allocate"),
        at("team/<str:team_id>/reclaim/", pools.Reclaim, "team_reclaim"),
        at("org/<str:organization_id>/grant/", pools.FundPool, "org_grant"),
        at("org/<str:organization_id>/allocate/", pools.AllocateOfOrganization, "org_allocate"),
        at("org/<str:organization_id>/reclaim/", pools.ReclaimOfOrganization, "org_reclaim"),
        at("job/<str:job_id>/refund/", corrections.RefundJob, "job_refund"),
        at("entry/<str:entry_id>/reverse/", corrections.ReverseEntry, "entry_reverse"),
        at("credits/entry/", ledger.LedgerList, "credits_entry_changelist"),
        at("entry/<str:entry_id>/", entry.EntryPage, "entry"),
    ]
