"""Suspend, pause and resume customers."""

from typing import Any

from django.urls import reverse

from apps.console.actions.base import Action, Change, Done, Preview, StaleState
from apps.core.actors import Actor
from apps.jobs.models import Call, Job
from apps.organizations.rights import Right
from apps.teams import services as teams
from apps.teams.models import Team


class TeamState(Action):
    """A team's new state."""

    right = Right.STATE_WRITE
    status: str
    obj: Team

    def load(self, team_id: str = "", **kwargs: Any) -> None:
        self.obj = teams.find(team_id)
        self.title = f"{self.verb} {self.obj.team_id}?"

    def doing(self) -> str:
        return f"{self.verb.lower()} teams"

    def back_url(self) -> str:
        return reverse("admin:team", kwargs={"team_id": self.obj.team_id})

    def require_possible(self) -> None:
        if self.obj.status in (self.status, Team.Status.CLOSED):
            raise StaleState(f"{self.obj.team_id} is {self.obj.status} already.")

    def preview(self, asked: dict[str, Any] | None) -> Preview:
        return Preview(
            changes=[Change("State", self.obj.status, self.status)],
            consequences=self.consequences(),
            seen=self.obj.status,
        )

    def consequences(self) -> list[str]:
        running = Call.objects.filter(job__team=self.obj, state__in=("queued", "running")).count()
        jobs = Job.objects.filter(team=self.obj, status__in=("pending", "in_progress")).count()
        return [
            "New jobs and calls are refused within a second.",
            f"{running} running calls finish; {jobs} open jobs can still be completed. Keys and credits stay.",
        ]

    def run(self, asked: dict[str, Any], actor: Actor) -> Done:
        teams.set_status(self.obj, status=self.status, actor=actor, reason=asked["reason"])
        return Done(f"{self.obj.team_id} is {self.status}.", self.back_url())


class SuspendTeam(TeamState):
    verb = "Suspend"
    busy = "Suspending…"
    status = Team.Status.SUSPENDED
    is_dangerous = True


class PauseTeam(TeamState):
    """The same for calls; the word tells the customer that it was agreed, not a measure of ours."""

    verb = "Pause"
    busy = "Pausing…"
    status = Team.Status.PAUSED


class ResumeTeam(TeamState):
    verb = "Resume"
    busy = "Resuming…"
    status = Team.Status.ACTIVE

    def consequences(self) -> list[str]:
        return ["Its keys work again at once.", f"It is {self.obj.status}: “{self.obj.status_reason}”."]
