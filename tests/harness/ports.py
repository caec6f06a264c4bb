"""Free TCP ports for processes under test, and the machine-wide lock of a port that is named by the docs."""

import os
import random
import socket

from apps.core.portlock import PortBusy, PortLock, port_lock

__all__ = ["PortBusy", "PortLock", "free_port", "port_lock"]

# Below the range from which the kernel takes ports for outgoing connections (32768 and up on Linux): a server
# that is killed and started again on its port must not find that a client has taken it meanwhile.
_LOWEST, _HIGHEST = 20_000, 31_999
_TRIES = 200
_random = random.Random(os.urandom(8))


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on now.  Raises: RuntimeError when none was found."""
    for _ in range(_TRIES):
        port = _random.randint(_LOWEST, _HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no free port between {_LOWEST} and {_HIGHEST} in {_TRIES} tries")
