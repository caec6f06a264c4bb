"""Reference data is of the size that was asked for, adds up, and never goes where customers are."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from apps.analytics import verification as rollup_checks
from apps.core import verification
from apps.credits.models import Entry
from apps.jobs.models import Call, Job
from apps.organizations.models import Organization
from apps.teams.models import Team
from apps.virtual_keys.models import VirtualKey

SMALL = ("--calls", "1000", "--jobs", "301", "--teams", "40", "--keys", "60", "--days", "2")


def fill(*arguments: str) -> str:
    out = StringIO()
    call_command("fill_reference", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
class TestFilled:
    def test_it_is_as_large_as_was_asked_for_and_adds_up(self):
        output = fill(*SMALL)

        sizes = [table.objects.count() for table in (Call, Job, Team, VirtualKey, Organization)]
        assert sizes == [1000, 301, 40, 60, 2]
        assert output.endswith("done\n")
        # All checks but that of triggers: those of tests may be lifted.
        assert [each for each in verification.differences() if each.check != "trigger"] == []
        assert list(rollup_checks.charges_are_those_of_the_ledger()) == []
        assert Entry.objects.filter(kind="charge").exists()

    def test_a_database_with_organizations_is_left_alone(self, acme):
        with pytest.raises(CommandError, match="has organizations"):
            fill(*SMALL)

        assert Job.objects.count() == 0


@pytest.mark.django_db
def test_no_size_is_refused():
    with pytest.raises(CommandError, match="1 or more"):
        fill("--calls", "10", "--teams", "0")


@pytest.mark.django_db
def test_sqlite_is_refused(is_postgresql):
    if is_postgresql:
        pytest.skip("is PostgreSQL")
    with pytest.raises(CommandError, match="PostgreSQL"):
        fill(*SMALL)
