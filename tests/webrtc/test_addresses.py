"""Which addresses answers list."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from helpers.patience import until
from helpers.peers_world import PeersWorld
from helpers.raw_peer import RawPeer, TcpRawPeer, offer

from aircheck.webrtc.addresses import MAX_ADDRESSES, candidates, reachable_addresses, resolved


def test_an_address_that_is_listened_on_is_listed() -> None:
    assert reachable_addresses("127.0.0.1") == ("127.0.0.1",)
    assert reachable_addresses("::1") == ("::1",)
    assert resolved("localhost") == "127.0.0.1"


def test_public_addresses_come_first_and_none_twice() -> None:
    listed = reachable_addresses("192.0.2.5", ["203.0.113.7", "2001:db8::1", "192.0.2.5"])
    assert listed == ("203.0.113.7", "2001:db8::1", "192.0.2.5")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_who_listens_on_all_addresses_lists_those_of_the_interfaces(host: str) -> None:
    listed = [ip_address(one) for one in reachable_addresses(host)]
    assert listed
    assert not any(one.is_unspecified or one.is_link_local for one in listed)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for one in listed:
            if one.version == 4:
                probe.bind((str(one), 0))
                break


def test_lists_are_bounded() -> None:
    many = [f"203.0.113.{i}" for i in range(100)]
    assert len(reachable_addresses("127.0.0.1", many)) == MAX_ADDRESSES


def test_candidates_prefer_udp_and_the_first_address() -> None:
    lines = candidates(["192.0.2.1", "::1"], ["192.0.2.1", "::1"], 8189)
    assert lines[0] == "1 1 udp 2130706431 192.0.2.1 8189 typ host"
    assert lines[3].endswith(" ::1 8189 typ host tcptype passive")
    priorities = [int(line.split()[3]) for line in lines]
    assert priorities == sorted(priorities, reverse=True)
    assert len({line.split()[0] for line in lines}) == 4


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", [RawPeer, TcpRawPeer])
async def test_both_versions_reach_a_port_on_all_addresses(address: str, kind: type[RawPeer]) -> None:
    async with PeersWorld.opened(host="::") as world:
        answer = await world.publish(offer())
        peer = await kind.to(answer, (address, world.address[1]))
        await peer.connect()
        peer.put(peer.rtp())
        await until(lambda: bool(world.listeners) and world.listeners["cam"].packets["opus"] == 1)
        shown = f"[{address}]" if ":" in address else address
        assert world.taken[0].remote_address.startswith(f"{shown}:")
        peer.close()
