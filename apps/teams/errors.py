"""Rules of teams that a request can break."""

from apps.core.errors import InvalidRequest, NotAllowed, NotFound


class TeamNotFound(NotFound):
    """Raised when there is no such team for the one who asks."""

    code = "team_not_found"


class TeamExists(InvalidRequest):
    """Raised when the id was taken before: ids are never reused."""

    code = "team_exists"


class TeamNotActive(NotAllowed):
    """Raised when a suspended, paused or closed team asks for new work."""

    code = "team_not_active"


class TeamClosed(InvalidRequest):
    """Raised when a closed team is to be changed."""

    code = "team_closed"
