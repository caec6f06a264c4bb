"""`manage.py cards replay`: what the last days' jobs would have cost by a draft card."""

import json
from argparse import ArgumentParser
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from apps.core import commands
from apps.core.bodies import InvalidBody, load, validate
from apps.core.errors import InvalidField
from apps.core.ids import parse_uuid
from apps.core.money import NANOUSD, exact_credits
from apps.core.verification import snapshot
from apps.credits import card_terms, pricing
from apps.credits.card_terms import CardInput
from apps.credits.models import RateCardVersion
from apps.jobs import replay
from apps.jobs.replay import Draft, Figures, Replay
from apps.organizations import services as organizations
from apps.organizations.models import Organization
from apps.teams import services as teams
from apps.teams.models import Team


class Command(commands.Command):
    help = (
        "replay: price the jobs that closed in the last days by a draft card, and print revenue then and with the"
        " draft, provider cost, margin, and the teams that move most. Writes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["replay"])
        parser.add_argument(
            "--draft",
            required=True,
            help="the id of a rate card's version, or a JSON file in the form of POST /api/rate-cards",
        )
        parser.add_argument("--days", type=int, default=30, help="how far back (30)")
        owner = parser.add_mutually_exclusive_group()
        owner.add_argument("--organization", help="jobs of this organization alone")
        owner.add_argument("--team", help="jobs of this team alone")
        parser.add_argument("--top", type=int, default=10, help="how many teams to print (10)")
        parser.add_argument("--json", action="store_true", help="print one JSON document, with every team")

    def run(self, **options: Any) -> None:
        if options["days"] < 1:
            raise CommandError("--days must be at least 1")
        with snapshot():
            team = teams.find(options["team"]) if options["team"] else None
            organization = organizations.find(options["organization"]) if options["organization"] else None
            draft = _draft(options["draft"])
            found = replay.replay(draft, days=options["days"], team=team, organization=organization)
        if options["json"]:
            self.stdout.write(json.dumps({"days": options["days"], **found.as_json()}))
        else:
            self.stdout.write("\n".join(_lines(found, days=options["days"], top=options["top"])))


def _draft(text: str) -> Draft:
    version_id = parse_uuid(text)
    if version_id is not None:
        versions = RateCardVersion.objects.select_related("card__team", "card__organization")
        version = versions.filter(pk=version_id).first()
        if version is None:
            raise CommandError(f"There is no version of a rate card with the id {text}")
        return Draft.of_version(version)
    try:
        given = validate(CardInput, load(Path(text).read_bytes()))
        columns = card_terms.columns(given)
    except OSError as error:
        raise CommandError(f"{text} is no version's id and cannot be read as a file: {error.strerror}") from error
    except (InvalidBody, InvalidField) as error:
        where = ".".join(str(part) for part in error.errors[0]["loc"][1:])
        raise CommandError(f"{text}: {where}: {error.errors[0]['msg']}") from error
    team: Team | None = teams.find(given.team_id) if given.team_id else None
    organization: Organization | None = organizations.find(given.organization_id) if given.organization_id else None
    if team is not None and organization is not None:
        raise CommandError(f"{text}: a card is a team's or an organization's, not both")
    return Draft(pricing.terms_of(RateCardVersion(**columns)), team, organization, given.job_type or "")


def _lines(found: Replay, *, days: int, top: int) -> list[str]:
    total = found.total
    note = " (a credit at its list price: an estimate)" if found.is_estimate else ""
    lines = [
        f"{total.jobs} jobs of the last {days} days",
        f"{'':<12}{'credits':>20}{'revenue USD':>16}{'margin USD':>16}",
        _line("then", total.then_micros, total.then_nanousd, total.cost_nanousd),
        _line("with draft", total.draft_micros, total.draft_nanousd, total.cost_nanousd),
        f"provider cost {_usd(total.cost_nanousd)} USD{note}",
    ]
    if found.jobs_of_nearer_cards:
        lines.append(f"{found.jobs_of_nearer_cards} jobs are priced by nearer cards and left out")
    if found.jobs_beyond_cost_cap:
        lines.append(f"{found.jobs_beyond_cost_cap} jobs went beyond the draft's cost cap: calls would be refused")
    moving = [(team_id, figures) for team_id, figures in found.teams if figures.moved_micros][:top]
    if moving:
        lines += ["", "teams that move most (credits then, with draft, difference)"]
        lines += [_team_line(team_id, figures) for team_id, figures in moving]
    return lines


def _line(label: str, micros: int, revenue_nanousd: int, cost_nanousd: int) -> str:
    margin = _usd(revenue_nanousd - cost_nanousd)
    return f"{label:<12}{exact_credits(micros):>20}{_usd(revenue_nanousd):>16}{margin:>16}"


def _team_line(team_id: str, figures: Figures) -> str:
    amounts = (figures.then_micros, figures.draft_micros, figures.moved_micros)
    return f"{team_id:<32}" + "".join(f"{exact_credits(micros):>16}" for micros in amounts)


def _usd(nanousd: int) -> str:
    return f"{Decimal(nanousd) / NANOUSD:.2f}"
