"""A session whose exchanges end at their deadline, however slowly the bytes of headers and body come.

A socket's own timeout bounds only each single read: one byte a second would hold a thread for ever.
"""

import http.client
import io
import logging
import threading
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any, ClassVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from apps.jobs.gateway.guard import Guarded

# It names hosts in its warnings.
logging.getLogger("urllib3").setLevel(logging.ERROR)

_local = threading.local()


class Deadline:
    """The instant when an exchange must be over; it may be brought forward."""

    __slots__ = ("ends_at",)

    def __init__(self, seconds: float) -> None:
        self.ends_at = time.monotonic() + seconds

    @property
    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()

    def shorten(self, seconds: float) -> None:
        """Let the exchange be over in `seconds`, if it would not be earlier."""
        self.ends_at = min(self.ends_at, time.monotonic() + seconds)


def send(
    prepared: requests.PreparedRequest, *, deadline: Deadline, connect_s: float, is_guarded: bool
) -> requests.Response:
    """Send the request and read the head of its answer; the body is read under the same deadline, also by another
    thread. `is_guarded` judges the address that it goes to. Raises: AddressRefused, what requests raises."""
    # Taken up by the reader of the answer, which http.client makes in this thread.
    _local.deadline = deadline
    left_s = max(deadline.seconds_left, 0.001)
    timeout = (min(connect_s, left_s), left_s)
    return session(is_guarded=is_guarded).send(prepared, timeout=timeout, stream=True, allow_redirects=False)


def session(*, is_guarded: bool = True) -> requests.Session:
    """One session per thread (and one for our own hosts): its connections are kept alive, and no lock is shared."""
    name = "guarded" if is_guarded else "plain"
    kept: requests.Session | None = getattr(_local, name, None)
    if kept is None:
        kept = _Session()
        # Neither proxies nor .netrc from the environment: 30 % cheaper, and no surprise destination.
        kept.trust_env = False
        # A cookie from one team's call must not travel with the next team's.
        kept.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            kept.mount(scheme, _GuardedAdapter() if is_guarded else _Adapter())
        setattr(_local, name, kept)
    return kept


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read a redirect's whole body, without a limit, even where it is not to follow."""


class _Reader(io.RawIOBase):
    """A socket's bytes; each read waits for no longer than what is left."""

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        # Counts as one user of the socket, which closes when all have gone.
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = self._deadline.seconds_left
        if left_s <= 0:
            raise TimeoutError
        self._sock.settimeout(left_s)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock, _local.deadline), 65_536)


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _GuardedConnection(Guarded, _Connection):
    pass


class _GuardedSecureConnection(Guarded, _SecureConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _GuardedPool(HTTPConnectionPool):
    ConnectionCls = _GuardedConnection


class _GuardedSecurePool(HTTPSConnectionPool):
    ConnectionCls = _GuardedSecureConnection


class _Adapter(HTTPAdapter):
    pools: ClassVar[dict[str, type[HTTPConnectionPool]]] = {"http": _Pool, "https": _SecurePool}

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self.pools


class _GuardedAdapter(_Adapter):
    pools: ClassVar[dict[str, type[HTTPConnectionPool]]] = {"http": _GuardedPool, "https": _GuardedSecurePool}
