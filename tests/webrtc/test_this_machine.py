"""A port on loopback is reached by every address of this machine, as Firefox needs it, and by nobody else."""

from __future__ import annotations

import re
import socket

import pytest
from helpers.patience import until
from helpers.peers_world import PeersWorld
from helpers.raw_peer import RawPeer, offer

from aircheck.webrtc.addresses import reachable_addresses
from aircheck.webrtc.this_machine import is_loopback, let_in_only, open_for_this_machine

CANDIDATE = re.compile(r"a=candidate:\S+ 1 (\w+) \d+ (\S+) ")
OWN = reachable_addresses("0.0.0.0")


def listed(answer: str) -> dict[str, list[str]]:
    """Addresses by transport, each once."""
    found: dict[str, list[str]] = {}
    for transport, address in dict.fromkeys(CANDIDATE.findall(answer)):
        found.setdefault(transport, []).append(address)
    return found


@pytest.mark.parametrize("address", OWN)
async def test_a_port_on_loopback_is_reached_by_all_addresses_of_the_machine(address: str) -> None:
    async with PeersWorld.opened(public_addresses=()) as world:
        answer = await world.publish(offer())
        assert listed(answer) == {"udp": list(dict.fromkeys((*OWN, "127.0.0.1"))), "tcp": ["127.0.0.1"]}
        peer = await RawPeer.to(answer, (address, world.address[1]))
        await peer.connect()
        peer.put(peer.rtp())
        await until(lambda: bool(world.listeners) and world.listeners["cam"].packets["opus"] == 1)
        peer.close()


async def test_who_names_public_addresses_gets_the_port_as_he_wrote_it() -> None:
    async with PeersWorld.opened(public_addresses=("203.0.113.7",)) as world:
        answer = await world.publish(offer())
        assert world.peers.port.udp_host == "127.0.0.1"
        assert listed(answer)["udp"] == ["203.0.113.7", "127.0.0.1"]


async def test_an_address_on_which_the_port_is_taken_costs_only_that() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.2", 0))
        assert open_for_this_machine(other.getsockname()[1]) is None
        async with PeersWorld.opened(port=other.getsockname()[1], public_addresses=()) as world:
            assert listed(await world.publish(offer()))["udp"] == ["127.0.0.1"]


def test_what_comes_by_another_interface_is_dropped() -> None:
    other = next((name for _, name in socket.if_nameindex() if name != "lo"), None)
    if other is None:
        pytest.skip("this machine has no other interface")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as open_one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed_one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for one, interface in ((open_one, "lo"), (closed_one, other)):
            let_in_only(one, interface)
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        for one in (closed_one, open_one):
            sender.sendto(b"check", one.getsockname())
        assert open_one.recv(100) == b"check"
        with pytest.raises(BlockingIOError):
            closed_one.recv(100)


@pytest.mark.parametrize(
    ("host", "is_it"), [("127.0.0.1", True), ("127.8.8.8", True), ("0.0.0.0", False), ("::1", False)]
)
def test_loopback_is_told_from_what_others_reach(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it
