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


def reachable_addresses(host: str, public: Iterable[str] = ()) -> tuple[str, ...]:
    """Public addresses first, then those that the port listens on. Of all, when it listens on all.

    Addresses of this machine alone are listed only where the port listens on nothing else.
    """
    found = [str(ip_address(one)) for one in public]
    if host in ("0.0.0.0", "::"):
        found += _ipv4_of_interfaces()
        if host == "::":
            found += _ipv6_of_interfaces()
    else:
        found.append(str(ip_address(socket.gethostbyname(host) if _is_name(host) else host)))
    return tuple(dict.fromkeys(found))[:MAX_ADDRESSES] or ("127.0.0.1",)


def candidates(addresses: Iterable[str], port: int) -> tuple[str, ...]:
    """Values of `a=candidate`: each address by UDP, then each by TCP."""
    lines = []
    for i, address in enumerate(addresses):
        udp, tcp = (_priority(one, 65535 - i) for one in (_UDP_PREFERENCE, _TCP_PREFERENCE))
        lines.append((0, f"{i + 1} 1 udp {udp} {address} {port} typ host"))
        lines.append((1, f"{i + 101} 1 tcp {tcp} {address} {port} typ host tcptype passive"))
    return tuple(line for _, line in sorted(lines, key=lambda pair: pair[0]))


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
