"""Rules of the catalog that a request can break."""

from apps.core.errors import NotAllowed, NotFound


class ModelNotAllowed(NotAllowed):
    """Raised when a team (or a key of it) may not use the model it asks for, known or not."""

    code = "model_not_allowed"


class NoModelAvailable(NotAllowed):
    """Raised when a call names no model and the team has none to default to."""

    code = "no_model_available"


class AliasNotFound(NotFound):
    """Raised when an alias that a team is to use does not exist."""

    code = "alias_not_found"
