"""The pages and actions of Money. Actions come before the tabs of the same object."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern


def patterns(at: Callable[[str, Any, str], URLPattern]) -> list[URLPattern]:
    from apps.console.actions import corrections, credits, periods, pools, vouchers
    from apps.console.pages import entry, grants, ledger, margin, statements
    from apps.console.pages import vouchers as voucher_pages

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
        at("margin/", margin.MarginPage, "margin"),
        at("statements/", statements.StatementList, "statements"),
        at("statements/<str:period>/close/", periods.ClosePeriod, "period_close"),
        at("statement/<str:organization_id>/<str:period>/", statements.Statement, "statement"),
        at("credits/grant/", grants.GrantList, "credits_grant_changelist"),
        at("grant/<str:grant_id>/", grants.GrantPage, "grant"),
        at("credits/voucher/", voucher_pages.VoucherList, "credits_voucher_changelist"),
        at("voucher/new/", vouchers.NewBatch, "voucher_new"),
        at("voucher/batch/<str:batch>/revoke/", vouchers.RevokeBatch, "voucher_batch_revoke"),
        at("voucher/<str:voucher_id>/revoke/", vouchers.RevokeVoucher, "voucher_revoke"),
        at("voucher/<str:voucher_id>/", voucher_pages.VoucherPage, "voucher"),
    ]
