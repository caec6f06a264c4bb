"""Connections to hosts that operators typed: to the very address that was judged, however their names change."""

import socket

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from apps.catalog.api_base import may_connect


class AddressRefused(Exception):
    """Raised when a host's name stands for an address where nothing of ours is to be sent."""


class Guarded(HTTPConnection):
    """Resolves its host once and judges what comes out. TLS and the Host header keep the name."""

    def _new_conn(self) -> socket.socket:
        """Raises: AddressRefused if any address is refused, so that luck decides nothing; what urllib3 raises."""
        host = self._dns_host
        failure: NewConnectionError | ConnectTimeoutError | None = None
        try:
            for address in self._addresses(host.strip("[]")):
                # An address resolves to itself.
                self._dns_host = address
                try:
                    return super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError) as error:
                    failure = error
        finally:
            self._dns_host = host
        raise failure or NewConnectionError(self, "no address")

    def _addresses(self, host: str) -> list[str]:
        try:
            found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError:
            raise AddressRefused from None
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        if not all(may_connect(host, address) for address in addresses):
            raise AddressRefused
        return addresses
