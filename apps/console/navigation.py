"""The sidebar: groups of links, each for those who hold a right. None leads to a page that does not exist."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from apps.organizations.rights import Right


@dataclass(frozen=True, slots=True)
class Item:
    title: str
    icon: str
    route: str
    right: Right = Right.VIEW


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    items: tuple[Item, ...]


SECTIONS: tuple[Section, ...] = (
    Section("Home", (Item("Dashboard", "monitoring", "admin:index"),)),
    Section(
        "Customers",
        (
            Item("Provision a customer", "person_add", "admin:provision", Right.CUSTOMERS_WRITE),
            Item("Organizations", "domain", "admin:organizations_organization_changelist"),
            Item("Teams", "groups", "admin:teams_team_changelist"),
            Item("Keys", "key", "admin:virtual_keys_virtualkey_changelist"),
            Item("Members", "person", "admin:organizations_membership_changelist"),
        ),
    ),
    Section(
        "Work",
        (
            Item("Jobs", "work", "admin:jobs_job_changelist"),
            Item("Calls", "bolt", "admin:jobs_call_changelist"),
            Item("Refusals", "block", "admin:limits_decision_changelist"),
        ),
    ),
    Section(
        "Money",
        (
            Item("Ledger", "receipt_long", "admin:credits_entry_changelist"),
            Item("Grants", "savings", "admin:credits_grant_changelist"),
            Item("Vouchers", "redeem", "admin:credits_voucher_changelist"),
            Item("Rate cards", "sell", "admin:credits_ratecard_changelist"),
            Item("Prices", "price_change", "admin:catalog_price_changelist"),
            Item("Margin", "trending_up", "admin:margin"),
            Item("Statements", "description", "admin:statements"),
            Item("Payments", "payments", "admin:payments_payment_changelist"),
            Item("Credit packs", "inventory_2", "admin:payments_creditpack_changelist"),
            Item("Top-ups", "autorenew", "admin:payments_topup_changelist"),
            Item("Currency rates", "currency_exchange", "admin:payments_currencyrate_changelist"),
            Item("Refill rules", "event_repeat", "admin:credits_allowance_changelist"),
            Item("Scheduled grants", "schedule", "admin:credits_scheduledgrant_changelist"),
        ),
    ),
    Section(
        "Catalog",
        (
            Item("Aliases", "label", "admin:catalog_modelalias_changelist"),
            Item("Model groups", "stacks", "admin:catalog_modelgroup_changelist"),
            Item("Access groups", "lock_open", "admin:catalog_accessgroup_changelist"),
            Item("Provider credentials", "vpn_key", "admin:catalog_providercredential_changelist"),
            Item("Limits", "speed", "admin:limits_limit_changelist"),
        ),
    ),
    Section(
        "Operations",
        (
            Item("System", "dns", "admin:system"),
            Item("Audit log", "history", "admin:core_auditentry_changelist"),
        ),
    ),
    Section("Administration", (Item("Operators", "badge", "admin:organizations_user_changelist"),)),
)


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups as Unfold's sidebar wants them, without what the operator may not open."""
    holds = getattr(request.user, "holds", lambda right: False)
    return [
        {
            "title": section.title,
            "collapsible": False,
            "separator": False,
            "items": [_item(request, item) for item in section.items if holds(item.right)],
        }
        for section in SECTIONS
    ]


def _item(request: HttpRequest, item: Item) -> dict[str, Any]:
    link = reverse(item.route)
    is_active = request.path == link if item.route == "admin:index" else request.path.startswith(link)
    return {"title": item.title, "icon": item.icon, "link": link, "active": is_active, "has_permission": True}
