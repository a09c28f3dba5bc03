"""Which addresses an answer lists, and how (RFC 8839 5.1)."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from pathlib import Path

MAX_ADDRESSES = 16
_SIOCGIFADDR = 0x8915
_UDP_PREFERENCE = 126
_TCP_PREFERENCE = 90
_IF_INET6 = Path("/proc/net/if_inet6")
_GLOBAL_SCOPE = "00"


def reachable_addresses(
    host: str, public: Iterable[str] = (), *, also: Iterable[str] = ()
) -> tuple[str, ...]:
    """Public addresses first, then those that the port listens on (all, when it does on all), then `also`.

    Addresses of this machine alone are listed only where the port listens on nothing else.
    """
    found = [str(ip_address(one)) for one in public]
    if host in ("0.0.0.0", "::"):
        found += _ipv4_of_interfaces()
        if host == "::":
            found += _ipv6_of_interfaces()
    else:
        found.append(str(ip_address(host)))
    return tuple(dict.fromkeys((*found[:MAX_ADDRESSES], *also))) or ("127.0.0.1",)


def resolved(host: str) -> str:
    """The address that a name to listen on stands for. Raises OSError."""
    return socket.gethostbyname(host) if _is_name(host) else host


def candidates(udp: Iterable[str], tcp: Iterable[str], port: int) -> tuple[str, ...]:
    """Values of `a=candidate`: each address that is reached by UDP, then each by TCP."""
    lines = []
    for i, address in enumerate(udp):
        priority = _priority(_UDP_PREFERENCE, 65535 - i)
        lines.append(f"{i + 1} 1 udp {priority} {address} {port} typ host")
    for i, address in enumerate(tcp):
        priority = _priority(_TCP_PREFERENCE, 65535 - i)
        lines.append(f"{i + 101} 1 tcp {priority} {address} {port} typ host tcptype passive")
    return tuple(lines)


def _priority(type_preference: int, local_preference: int) -> int:
    """RFC 8445 5.1.2.1, component 1."""
    return type_preference << 24 | local_preference << 8 | 255


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def _ipv4_of_interfaces() -> list[str]:
    """The first address of each interface that is up, loopback left out."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue
            address = ip_address(answer[20:24])
            if not address.is_loopback:
                found.append(str(address))
    return found


def _ipv6_of_interfaces() -> list[str]:
    """Global and unique local addresses; link-local ones would need a scope that SDP cannot say."""
    try:
        rows = [line.split() for line in _IF_INET6.read_text().splitlines()]
    except OSError:
        return []
    return [
        str(IPv6Address(bytes.fromhex(row[0]))) for row in rows if len(row) > 3 and row[3] == _GLOBAL_SCOPE
    ]
