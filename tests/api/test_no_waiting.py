"""Changing a team or an organization waits for no admission, and none waits for it."""

import pytest
from django.db import connection, transaction

from apps.core.actors import SYSTEM
from apps.credits import ledger
from apps.jobs import services
from apps.organizations import services as organizations
from apps.teams import services as teams
from tests import make

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def test_job_is_opened_while_its_team_and_organization_are_being_changed(in_thread):
    """Else a change that then wants the wallet would deadlock with a call that has it and wants the team's key."""
    customer = make.customer(team_id="acme")
    principal = customer.principal

    def open_a_job():
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '2s'")
            ledger.hold(customer.team, job="j", amount_micros=1)
            services.open_job(principal, services.NewJob("query"))
        return "opened"

    with transaction.atomic():
        teams.update(customer.team, actor=SYSTEM, alias="changed")
        teams.set_status(customer.team, status="active", actor=SYSTEM, reason="why not")
        organizations.set_status(customer.organization, status="active", actor=SYSTEM, reason="why not")

        assert in_thread(open_a_job) == "opened"
