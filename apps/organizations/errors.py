"""Rules of organizations that a request can break."""

from apps.core.errors import InvalidRequest, NotFound


class OrganizationNotFound(NotFound):
    """Raised when there is no such organization for the one who asks."""

    code = "organization_not_found"


class OrganizationExists(InvalidRequest):
    """Raised when the id was taken before: ids are never reused."""

    code = "organization_exists"
