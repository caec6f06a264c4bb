"""`manage.py demo`: the whole platform in one process, with a first customer and a job that runs.

It prepares an environment and starts itself anew in it, provisions, and then becomes the server: no thread and
no connection exists before the server forks. A child process waits for the server and runs the tour.
"""

import logging
import os
import secrets
import subprocess
import sys
import urllib.parse
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import requests
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error as DatabaseError
from django.db import connection
from psycopg_pool import PoolTimeout

from apps.catalog import services as catalog
from apps.catalog.models import ModelAlias
from apps.core import commands
from apps.core.actors import COMMAND
from apps.core.errors import DomainError
from apps.core.portlock import PortBusy, port_lock
from apps.organizations.models import User
from apps.provisioning import services as provisioning
from apps.virtual_keys import services as virtual_keys

FOLDER = Path(os.environ.get("DEMO_DIR") or settings.BASE_DIR / ".demo").resolve()
ENV_FILE = FOLDER / "env"
SECRETS_FILE = FOLDER / "secrets"
ORGANIZATION, TEAM, CREDITS = "demo", "demo-team", 100
OPERATOR = "operator@example.com"


class Command(commands.Command):
    help = "Run the platform with a demo customer: web, worker and sweeper in one process. Ctrl-C ends it."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--stage", choices=("environment", "server"), default="environment", help=_HIDDEN)

    def run(self, **options: Any) -> None:
        if options["stage"] == "environment":
            _restart_prepared()
        port = _port()
        try:
            lock = port_lock(port)
        except PortBusy as busy:
            raise CommandError(f"{busy}. Stop it, or choose another port: PORT=8004 make demo") from None
        try:
            self._prepare()
        except (DatabaseError, PoolTimeout, ImproperlyConfigured) as error:
            raise CommandError(f"The database cannot be used ({_place_of_database()}): {_one_line(error)}") from error
        connection.close()
        # Its own process, started before this one becomes the server; it ends by itself after the tour.
        subprocess.Popen([sys.executable, "manage.py", "demo_tour"], cwd=settings.BASE_DIR)
        self.stdout.flush()
        del lock  # the file descriptor stays open across exec, and with it the lock
        _become_server(port)

    def _prepare(self) -> None:
        # The pool tells each failed try; the one line at the end is enough here.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        call_command("migrate", verbosity=0, interactive=False)
        alias = _default_alias()
        catalog.set_platform_default(**alias, actor=COMMAND)
        kept = read_env(ENV_FILE)
        ensured = provisioning.ensure_customer(
            organization_id=ORGANIZATION,
            team_id=TEAM,
            credits=CREDITS,
            actor=COMMAND,
            new_key=not _is_key_of_team(kept.get("SAAS_LITELLM_VIRTUAL_KEY", "")),
        )
        kept["SAAS_LITELLM_TEAM_ID"] = TEAM
        if ensured.secret:
            kept["SAAS_LITELLM_VIRTUAL_KEY"] = ensured.secret
        write_env(ENV_FILE, {**kept, "MASTER_KEY": settings.MASTER_KEY})
        password = read_env(SECRETS_FILE)["OPERATOR_PASSWORD"]
        operator = User.objects.filter(email=OPERATOR).first()
        if operator is None:
            User.objects.create_superuser(OPERATOR, password, display_name="Demo operator")
        elif not operator.check_password(password):
            operator.set_password(password)
            operator.save(update_fields=["password"])


_HIDDEN = "used by the command itself"


def _restart_prepared() -> None:
    """Start this command anew with the demo's settings in its environment; settings are read only once."""
    FOLDER.mkdir(exist_ok=True)
    kept = read_env(SECRETS_FILE)
    for name in ("SECRET_KEY", "KEY_PEPPER", "OPERATOR_PASSWORD", "MASTER_KEY"):
        kept.setdefault(name, ("sk-admin-" if name == "MASTER_KEY" else "") + secrets.token_urlsafe(24))
    write_env(SECRETS_FILE, kept)
    environment = {
        "DATABASE_URL": f"sqlite:///{FOLDER / 'db.sqlite3'}",
        "SECRET_KEY": kept["SECRET_KEY"],
        "KEY_PEPPER": kept["KEY_PEPPER"],
        "MASTER_KEY": kept["MASTER_KEY"],
        **os.environ,
        "SAASLLM_EMBEDDED": "1",
        "PYTHONUNBUFFERED": "1",
    }
    os.chdir(settings.BASE_DIR)
    os.execve(sys.executable, [sys.executable, "manage.py", "demo", "--stage", "server"], environment)  # noqa: S606


def _become_server(port: int) -> None:
    arguments = [
        sys.executable, "-m", "granian", "--interface", "wsgi", "saasllm.wsgi:application",
        "--host", os.environ.get("HOST", "127.0.0.1"), "--port", str(port), "--workers", "1",
        "--blocking-threads", str(settings.WEB_THREADS), "--backpressure", "1024",
        "--no-ws", "--log-level", "error",
    ]  # fmt: skip
    # granian's allocator keeps some 50 kB for each thread that has ever served: see docs/deployment.md.
    environment = {"_RJEM_MALLOC_CONF": "tcache:false", **os.environ}
    os.execve(sys.executable, arguments, environment)  # noqa: S606


def _port() -> int:
    text = os.environ.get("PORT", "8003")
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise CommandError(f"PORT must be a number from 1 to 65535, not '{text}'.")
    return int(text)


def _default_alias() -> dict[str, Any]:
    """What calls without a model use: the demo provider, or a model of the LiteLLM that is configured.

    Raises: CommandError when that LiteLLM cannot be reached or has no model.
    """
    if not settings.LITELLM_BASE_URL:
        return {"name": "demo-chat", "provider_model": "demo-chat", "route": ModelAlias.Route.DEMO}
    place = urllib.parse.urlsplit(settings.LITELLM_BASE_URL).netloc
    try:
        response = requests.get(
            f"{settings.LITELLM_BASE_URL}/v1/models",
            headers={"Authorization": f"Bearer {settings.LITELLM_MASTER_KEY}"},
            timeout=5,
        )
        models = [model["id"] for model in response.json()["data"]] if response.status_code == 200 else []
    except (requests.RequestException, ValueError, KeyError, TypeError):
        raise CommandError(f"LiteLLM at {place} (LITELLM_BASE_URL) cannot be reached or is no LiteLLM.") from None
    if response.status_code in (400, 401, 403):
        raise CommandError(f"LiteLLM at {place} refused LITELLM_MASTER_KEY (HTTP {response.status_code}).")
    model = settings.DEFAULT_MODEL or next(iter(models), "")
    if not model or (models and model not in models):
        known = ", ".join(models) or "none"
        raise CommandError(f"LiteLLM at {place} has no model '{model}' for DEFAULT_MODEL. It has: {known}.")
    return {"name": "default", "provider_model": model, "route": ModelAlias.Route.LITELLM}


def _is_key_of_team(secret: str) -> bool:
    try:
        return virtual_keys.authenticate(secret).team.team_id == TEAM
    except DomainError:
        return False


def _place_of_database() -> str:
    database = settings.DATABASES["default"]
    return str(database["NAME"]) if not database.get("HOST") else f"{database['HOST']}/{database['NAME']}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def read_env(path: Path) -> dict[str, str]:
    """NAME=value lines of a file; none when there is no file."""
    if not path.exists():
        return {}
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def write_env(path: Path, values: dict[str, str]) -> None:
    """Write NAME=value lines that a shell can read, for the owner's eyes only."""
    path.touch(mode=0o600, exist_ok=True)
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
