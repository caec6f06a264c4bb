"""Hosts and addresses that lead into our own network, however they are spelt. Nothing is resolved here."""

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Where clouds tell a machine its secrets; most of them are link-local besides.
METADATA_NAMES = ("metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal")
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def address_of(host: str) -> Address | None:
    """The address that a host spells, also as `2852039166` or `0xa9.254.169.254`; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def is_local_name(host: str) -> bool:
    """`localhost` and what is below it: this machine by RFC 6761."""
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")


def is_forbidden(address: Address) -> bool:
    """Whether nothing of ours has business there: link-local, metadata, multicast, unspecified."""
    inner = _inner(address)
    if inner is not None and is_forbidden(inner):
        return True
    return address in _METADATA_ADDRESSES or address.is_link_local or address.is_multicast or address.is_unspecified


def is_public(address: Address) -> bool:
    """Whether it is on the Internet: neither loopback nor private, shared or reserved."""
    inner = _inner(address)
    if inner is not None:
        return is_public(inner)
    return address.is_global and not is_forbidden(address)


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is written into an IPv6 one."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
