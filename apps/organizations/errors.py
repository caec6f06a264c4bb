"""Rules of organizations that a request can break."""

from apps.core.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound


class OrganizationNotFound(NotFound):
    """Raised when there is no such organization for the one who asks."""

    code = "organization_not_found"


class OrganizationExists(InvalidRequest):
    """Raised when the id was taken before: ids are never reused."""

    code = "organization_exists"


class OperatorNotFound(NotFound):
    """Raised when there is no such operator."""

    code = "operator_not_found"


class OperatorExists(Conflict):
    """Raised when somebody with this e-mail is an operator already."""

    code = "operator_exists"


class LastOwner(Conflict):
    """Raised when no active owner would be left."""

    code = "last_owner"
    message = "Name another owner first."


class OwnRole(Conflict):
    """Raised when operators would change their own role or state."""

    code = "own_role"
    message = "Nobody changes their own role. Ask another owner."


class TokenNotFound(NotFound):
    """Raised when the operator has no such token."""

    code = "operator_token_not_found"


class InvalidToken(NotAuthenticated):
    """Raised for malformed, unknown, revoked and expired operator tokens alike, and for those of who left."""

    code = "invalid_operator_token"
    message = "The operator token is unknown, revoked or expired, or its operator is inactive."


class MemberNotFound(NotFound):
    """Raised when nobody of this id is a member of the organization."""

    code = "member_not_found"


class MemberExists(Conflict):
    """Raised when somebody with this e-mail is a member of the organization already."""

    code = "member_exists"


class AlreadySetUp(Conflict):
    """Raised when the platform has an owner."""

    code = "already_set_up"
    message = "Set-up was completed a moment ago. Sign in."
