"""Pages of what customers may use and what it costs: rate cards, prices, models, providers' keys, limits."""

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern

At = Callable[[str, Any, str], URLPattern]


def patterns(at: At) -> list[URLPattern]:
    """All of them; `at` guards a page."""
    return [*_cards(at), *_limits(at), *_prices(at), *_catalog(at)]


def _cards(at: At) -> list[URLPattern]:
    from apps.console.actions import cards as actions
    from apps.console.pages import cards

    return [
        at("credits/ratecard/", cards.CardList, "credits_ratecard_changelist"),
        at("card/new/", actions.NewCard, "card_new"),
        at("card/<str:card_id>/", cards.CardPage, "card"),
        at("card/<str:card_id>/edit/", actions.EditDraft, "card_edit"),
        at("card/<str:card_id>/rebase/", actions.RebaseDraft, "card_rebase"),
        at("card/<str:card_id>/activate/", actions.ActivateDraft, "card_activate"),
        at("card/<str:card_id>/discard/", actions.DiscardDraft, "card_discard"),
        at("card/<str:card_id>/<slug:tab>/", cards.CardPage, "card_tab"),
    ]


def _limits(at: At) -> list[URLPattern]:
    from apps.console.actions import limits as actions
    from apps.console.pages import limits

    return [
        at("limits/limit/", limits.LimitList, "limits_limit_changelist"),
        at("limits/check/", limits.CheckPage, "limits_check"),
        at("limit/new/", actions.SetLimit, "limit_new"),
        at("limit/<str:limit_id>/", limits.LimitPage, "limit"),
        at("limit/<str:limit_id>/edit/", actions.ChangeLimit, "limit_edit"),
        at("limit/<str:limit_id>/raise/", actions.RaiseLimit, "limit_raise"),
        at("limit/<str:limit_id>/remove/", actions.RemoveLimit, "limit_remove"),
    ]


def _prices(at: At) -> list[URLPattern]:
    from apps.console.actions import price_import
    from apps.console.actions import prices as actions
    from apps.console.pages import prices

    return [
        at("catalog/price/", prices.PriceList, "catalog_price_changelist"),
        at("price/new/", actions.AddPrice, "price_new"),
        at("price/import/", price_import.ImportPrices, "price_import"),
    ]


def _catalog(at: At) -> list[URLPattern]:
    from apps.console.actions import catalog as actions
    from apps.console.pages import catalog, credentials

    return [
        at("catalog/modelalias/", catalog.AliasList, "catalog_modelalias_changelist"),
        at("catalog/modelgroup/", catalog.ModelGroupList, "catalog_modelgroup_changelist"),
        at("catalog/accessgroup/", catalog.AccessGroupList, "catalog_accessgroup_changelist"),
        at("catalog/providercredential/", credentials.CredentialList, "catalog_providercredential_changelist"),
        at("alias/<str:name>/turn-off/", actions.TurnOffAlias, "alias_off"),
        at("alias/<str:name>/turn-on/", actions.TurnOnAlias, "alias_on"),
        at("access-group/<str:name>/turn-off/", actions.TurnOffAccessGroup, "access_group_off"),
        at("access-group/<str:name>/turn-on/", actions.TurnOnAccessGroup, "access_group_on"),
        at("model-group/<str:name>/", catalog.ModelGroupPage, "model_group"),
        at("model-group/<str:name>/turn-off/", actions.TurnOffModelGroup, "model_group_off"),
        at("model-group/<str:name>/turn-on/", actions.TurnOnModelGroup, "model_group_on"),
        at("credential/<str:credential_id>/turn-off/", actions.TurnOffCredential, "credential_off"),
        at("credential/<str:credential_id>/turn-on/", actions.TurnOnCredential, "credential_on"),
    ]
