"""A key that one process revoked is refused by every other within a second."""

import time

import pytest
import requests

from tests.services.conftest import Platform
from tests.services.stack import MASTER_KEY, wait_until

pytestmark = pytest.mark.services

REFUSED_WITHIN_S = 1.0


def test_key_revoked_in_one_process_is_refused_in_another_within_a_second(platform: Platform) -> None:
    other = platform.stack.start_web()
    operator = {"X-Admin-Key": MASTER_KEY}
    keys = f"{platform.web.url}/api/teams/globex/keys"
    issued = requests.post(keys, json={"name": "short-lived"}, headers=operator, timeout=10).json()
    key = {"Authorization": f"Bearer {issued['virtual_key']}"}
    team = f"{other.url}/api/teams/globex/jobs"

    def status() -> int:
        return requests.get(team, headers=key, timeout=10).status_code

    assert status() == 200
    revoked = requests.delete(f"{keys}/{issued['key_id']}", headers=operator, timeout=10)
    revoked_at = time.monotonic()
    assert revoked.status_code == 200
    wait_until(lambda: status() == 401, timeout_s=5, what="the key to be refused")
    assert time.monotonic() - revoked_at < REFUSED_WITHIN_S
    platform.stack.kill(other)
