"""Who an actor of the ledger or the audit log is, as people call them."""

from apps.organizations.models import User


def name_of(actor: str) -> str:
    """ "operator:bo@example.com" by the operator's name, else by the address; others as they are."""
    kind, _, name = actor.partition(":")
    if kind != "operator":
        return actor
    found = User.objects.filter(email=name).values_list("display_name", flat=True).first()
    return found or name
