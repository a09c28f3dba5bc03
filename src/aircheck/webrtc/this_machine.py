"""A UDP port for this machine alone, on all of its addresses.

Firefox pairs no address of a network with one of loopback: to a port on 127.0.0.1 it never sends a check,
even if page and server are on one machine. So the port is opened on all addresses, and the kernel throws away
what did not come by the loopback interface, by which a machine reaches each of its own addresses.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from ipaddress import IPv4Network, ip_address

_LOOPBACK = IPv4Network("127.0.0.0/8")
_SO_ATTACH_FILTER = 26
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_INTERFACE_OF_PACKET = 0xFFFFF008
"""Where a filter finds the index of the interface (SKF_AD_OFF + SKF_AD_IFINDEX of linux/filter.h)."""
_ALL_OF_IT, _NOTHING = 0xFFFFFFFF, 0


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is one of IPv4's loopback."""
    return ip_address(host) in _LOOPBACK


def open_for_this_machine(port: int) -> socket.socket | None:
    """The socket, not blocking; None where it cannot be had: the port is taken on one of the addresses, or
    the kernel knows no filters.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        let_in_only(sock, "lo")
        sock.setblocking(False)
        sock.bind(("0.0.0.0", port))
    except OSError:
        sock.close()
        return None
    return sock


def let_in_only(sock: socket.socket, interface: str) -> None:
    """Drop in the kernel what comes by other interfaces. Raises OSError."""
    steps = (
        (_LOAD_WORD, 0, 0, _INTERFACE_OF_PACKET),
        (_JUMP_IF_EQUAL, 0, 1, socket.if_nametoindex(interface)),
        (_RETURN, 0, 0, _ALL_OF_IT),
        (_RETURN, 0, 0, _NOTHING),
    )
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    described = struct.pack("HP", len(steps), ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
