"""Rules of the catalog that a request can break."""

from apps.core.errors import InvalidRequest, NotAllowed, NotFound


class ModelNotAllowed(NotAllowed):
    """Raised when a team (or a key of it) may not use the model it asks for, known or not."""

    code = "model_not_allowed"


class ModelGroupUnavailable(NotAllowed):
    """Raised when a team may ask for a model group, but the group is inactive or has no model in use."""

    code = "model_group_unavailable"


class NoModelAvailable(NotAllowed):
    """Raised when a call names no model and the team has none to default to."""

    code = "no_model_available"


class AliasNotFound(NotFound):
    """Raised when there is no such alias, or nothing of the name that a team is to be given."""

    code = "alias_not_found"


class AccessGroupNotFound(NotFound):
    """Raised when there is no such access group."""

    code = "access_group_not_found"


class ModelGroupNotFound(NotFound):
    """Raised when there is no such model group."""

    code = "model_group_not_found"


class PriceNotFound(NotFound):
    """Raised when a provider model has no price."""

    code = "price_not_found"


class InvalidPriceMap(InvalidRequest):
    """Raised when a file to import prices from cannot be read as LiteLLM's price map."""

    code = "invalid_price_map"


class AliasExists(InvalidRequest):
    """Raised when an alias of that name exists."""

    code = "alias_exists"


class AccessGroupExists(InvalidRequest):
    """Raised when an access group of that name exists."""

    code = "access_group_exists"


class ModelGroupExists(InvalidRequest):
    """Raised when a model group of that name exists."""

    code = "model_group_exists"


class StillInUse(InvalidRequest):
    """Raised when an alias or a group is to be deleted that teams or groups use."""

    code = "still_in_use"


class InvalidProvider(InvalidRequest):
    """Raised when a credential is for a provider that has none."""

    code = "invalid_provider"


class CredentialExists(InvalidRequest):
    """Raised when an organization (or the platform) would have two active credentials of one provider."""

    code = "credential_exists"


class CredentialNotFound(NotFound):
    """Raised when there is no such provider credential."""

    code = "credential_not_found"
