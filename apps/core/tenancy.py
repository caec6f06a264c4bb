"""Every query of a tenant's rows starts here: what belongs to another team is not found, not forbidden."""

from typing import Self, TypeVar

from django.db import models

M = TypeVar("M", bound=models.Model, covariant=True)


class TenantQuerySet(models.QuerySet[M]):
    """Rows that carry `team` and `organization`."""

    def for_team(self, team: models.Model) -> Self:
        return self.filter(team_id=team.pk)

    def for_organization(self, organization: models.Model) -> Self:
        return self.filter(organization_id=organization.pk)
