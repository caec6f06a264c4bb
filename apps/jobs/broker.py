"""Celery's Redis transport, with one Redis client a channel.

Kombu makes a new client for every command outside its event loop (publish, acknowledge); making one costs as much as
the command itself. Clients share their channel's connection pool and are safe to use from several threads.
"""

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):
    """A channel that keeps its synchronous client."""

    _kept_client: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[no-untyped-call]
        # Kombu replaces the pool when it reconnects; the client goes with it.
        kept = self._kept_client
        if kept is None or kept.connection_pool is not self.pool:
            kept = self._kept_client = super()._create_client()  # type: ignore[no-untyped-call]
        return kept


class Transport(redis.Transport):
    """Redis, through such channels."""

    Channel = Channel
