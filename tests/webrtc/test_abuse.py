"""What the port takes from strangers and from peers that misbehave: bounded, counted, felt by nobody else."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from functools import partial

import pytest
import uvloop
from helpers.patience import PATIENCE_S, until
from helpers.peers_world import PeersWorld
from helpers.raw_peer import RawPeer, TcpRawPeer, offer
from helpers.rtc_client import RtcClient

from aircheck.facts import EndReason
from aircheck.webrtc.errors import NameInUse, TooManyPeers
from aircheck.webrtc.paths import TcpPath
from aircheck.webrtc.states import Info, PeerState, PeerTimeouts
from aircheck.wire import stun


async def publishing(world: PeersWorld, name: str = "cam", kind: type[RawPeer] = RawPeer) -> RawPeer:
    """A raw peer whose stream is live."""
    peer = await kind.to(await world.publish(offer(), name=name), world.address)
    await peer.connect()
    peer.put(peer.rtp())
    await until(lambda: name in world.listeners and world.listeners[name].packets["opus"] > 0)
    return peer


async def test_garbage_does_not_disturb_who_is_live() -> None:
    garbage = random.Random(4)
    async with PeersWorld.opened() as world, RtcClient() as client:
        await client.publish(world.publish, has_video=False)
        await until(lambda: bool(world.listeners))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for i in range(3000):
                sock.sendto(garbage.randbytes(garbage.randrange(0, 1500)), world.address)
                if i % 200 == 0:
                    await asyncio.sleep(0.005)
        heard = world.listeners["cam"].packets
        before = heard["opus"]
        await until(lambda: heard["opus"] > before + 20)
        assert world.taken[0].is_connected
        assert sum(world.peers.errors.values()) >= 2900
        assert not world.peers.errors["internal"]


async def test_half_open_handshakes_end_by_themselves() -> None:
    async with PeersWorld.opened(timeouts=PeerTimeouts(connect_s=2)) as world:
        live = await publishing(world, "live")
        halves = []
        for i in range(100):
            peer = await RawPeer.to(await world.publish(offer(), name=f"half-{i}"), world.address)
            await peer.check()
            peer.put(peer.dtls.begin()[0])
            halves.append(peer)
        await until(lambda: len(world.peers) == 1)
        assert {peer.info for peer in world.taken[1:]} == {Info.DTLS_ERROR}
        live.put(live.rtp())
        await until(lambda: world.listeners["live"].packets["opus"] == 2)
        for peer in (live, *halves):
            peer.close()


async def test_a_burst_of_offers_is_bounded_and_forgotten() -> None:
    async with PeersWorld.opened(max_peers=300, timeouts=PeerTimeouts(connect_s=0.5)) as world:
        results = await asyncio.gather(
            *(world.publish(offer(), name=f"burst-{i}") for i in range(500)), return_exceptions=True
        )
        assert sum(isinstance(one, str) for one in results) == 300
        assert sum(isinstance(one, TooManyPeers) for one in results) == 200
        await until(lambda: len(world.peers) == 0)
        assert {peer.info for peer in world.taken} == {Info.ICE_TIMEOUT}
        assert not world.peers.port._peers
        await world.publish(offer(), name="burst-1")


async def test_a_name_is_kept_for_a_peer_that_is_on_its_way() -> None:
    async with PeersWorld.opened() as world:
        await world.publish(offer())
        with pytest.raises(NameInUse):
            await world.publish(offer())


async def test_a_check_without_the_password_is_not_answered() -> None:
    async with PeersWorld.opened() as world:
        peer = await RawPeer.to(await world.publish(offer()), world.address)
        peer.put(peer.request(key="guessed"))
        with pytest.raises(TimeoutError):
            await peer.get(0.2)
        assert world.taken[0].state is PeerState.NEW
        assert world.peers.errors["unproven_stun"] == 1
        peer.close()


@pytest.mark.parametrize(
    ("attribute", "code"), [(stun.Attribute.ICE_CONTROLLED, 487), (0x7F01, 420)], ids=["role", "unknown"]
)
async def test_a_check_that_cannot_be_taken_is_answered_by_an_error(attribute: int, code: int) -> None:
    async with PeersWorld.opened() as world:
        peer = await RawPeer.to(await world.publish(offer()), world.address)
        peer.put(peer.request(extra=((attribute, bytes(8)),)))
        answer = stun.parse(await peer.get())
        assert answer.type is stun.Type.BINDING_ERROR
        number = answer.attributes[stun.Attribute.ERROR_CODE]
        assert number[2] * 100 + number[3] == code
        peer.close()


async def test_the_answer_to_a_check_names_the_address_it_came_from() -> None:
    async with PeersWorld.opened() as world:
        peer = await RawPeer.to(await world.publish(offer()), world.address)
        answer = await peer.check()
        mapped = answer.attributes[stun.Attribute.XOR_MAPPED_ADDRESS]
        assert stun.parse_xor_address(mapped, answer.transaction_id) == peer.transport.get_extra_info(
            "sockname"
        )
        assert answer.is_proven(peer.password.encode())
        peer.close()


async def test_a_certificate_that_is_not_the_offers_fails() -> None:
    other = "sha-256 " + ":".join(["00"] * 32)
    async with PeersWorld.opened() as world:
        peer = await RawPeer.to(await world.publish(offer(fingerprint=other)), world.address)
        connecting = asyncio.create_task(peer.connect())
        await until(lambda: world.taken[0].is_closed)
        connecting.cancel()
        assert world.taken[0].info == Info.DTLS_ERROR
        assert not world.listeners
        peer.close()


async def test_we_shake_hands_first_when_the_offer_is_passive() -> None:
    async with PeersWorld.opened() as world:
        answer = await world.publish(offer(setup="passive"))
        assert "a=setup:active" in answer
        peer = await RawPeer.to(answer, world.address)
        await peer.connect()
        peer.put(peer.rtp())
        await until(lambda: bool(world.listeners) and world.listeners["cam"].packets["opus"] == 1)
        peer.close()


async def test_forged_and_replayed_packets_are_counted_and_dropped() -> None:
    async with PeersWorld.opened() as world:
        peer = await publishing(world)
        packet, other = peer.rtp(), peer.rtp()
        for datagram in (packet, packet, other[:-1] + bytes((other[-1] ^ 1,)), other[:5]):
            peer.put(datagram)
        await until(lambda: world.listeners["cam"].packets["opus"] == 2)
        await until(
            lambda: world.peers.errors["srtp_authentication"] + world.peers.errors["srtp_malformed"] > 1
        )
        assert world.peers.errors["srtp_replay"] == 1
        assert world.listeners["cam"].packets["opus"] == 2
        peer.close()


async def test_a_peer_with_ever_new_sources_costs_bounded_memory() -> None:
    async with PeersWorld.opened() as world:
        peer = await publishing(world)
        for ssrc in range(100, 300):
            peer.put(peer.rtp(ssrc=ssrc))
        await until(lambda: world.peers.errors["srtp_too_many_ssrcs"] > 100)
        peer.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(("kind", "transport"), [(RawPeer, "udp"), (TcpRawPeer, "tcp")])
def test_media_by_either_transport_on_either_loop(
    run: Callable[[Coroutine[object, object, None]], None], kind: type[RawPeer], transport: str
) -> None:
    run(exchange_media(kind, transport))


async def exchange_media(kind: type[RawPeer], transport: str) -> None:
    async with PeersWorld.opened() as world:
        peer = await publishing(world, kind=kind)
        assert world.taken[0].transport == transport
        for _ in range(20):
            peer.put(peer.rtp())
        await until(lambda: world.listeners["cam"].packets["opus"] == 21)
        peer.close()


@pytest.mark.parametrize("junk", [b"\0\0", b"\xff\xff" + bytes(100), b"GET / HTTP/1.1\r\n\r\n"])
async def test_tcp_connections_that_talk_something_else_are_closed(junk: bytes) -> None:
    async with PeersWorld.opened() as world:
        reader, writer = await asyncio.open_connection(*world.address)
        writer.write(junk)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()
        assert world.peers.errors["tcp_garbage"] == 1


async def test_tcp_connections_that_say_nothing_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aircheck.webrtc.paths.TCP_PROOF_TIMEOUT_S", 0.1)
    async with PeersWorld.opened() as world:
        reader, writer = await asyncio.open_connection(*world.address)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def test_tcp_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aircheck.webrtc.port.MAX_TCP_PEERS", 2)
    async with PeersWorld.opened() as world:
        opened = [await asyncio.open_connection(*world.address) for _ in range(3)]
        async with asyncio.timeout(PATIENCE_S):
            assert await opened[2][0].read() == b""
        assert sum(isinstance(one, TcpPath) for one in world.peers.port._tcp_paths) == 2
        for _, writer in opened:
            writer.close()


async def test_a_restart_moves_a_peer_to_another_address() -> None:
    async with PeersWorld.opened() as world:
        first = await publishing(world)
        taken = world.taken[0]
        etag = taken.etag
        fragment = taken.restart_ice("a=ice-ufrag:raw2\r\na=ice-pwd:aaaabbbbccccddddeeeeffff\r\n")
        assert taken.etag != etag
        first.put(first.rtp())
        await until(lambda: world.listeners["cam"].packets["opus"] == 2)
        second = await RawPeer.to(fragment + "a=fingerprint:sha-256 00\r\na=setup:passive\r\n", world.address)
        await second.check()
        second.put(first.rtp())
        await until(lambda: world.listeners["cam"].packets["opus"] == 3)
        assert taken.remote_address.endswith(f":{second.transport.get_extra_info('sockname')[1]}")
        first.close()
        second.close()


async def test_offers_that_cannot_be_answered_leave_nothing_behind() -> None:
    async with PeersWorld.opened() as world:
        bad = (offer().replace("opus", "speex"), offer().replace("a=fingerprint", "a=x"), "v=0\r\n", "junk")
        for text in bad:
            with pytest.raises(Exception, match=r"\w"):
                await world.publish(text)
        assert len(world.peers) == 0
        assert not world.peers.port._peers
        assert sum(world.peers.refused.values()) == len(bad)
        await partial(world.publish, offer())()


async def test_junk_in_the_middle_of_a_handshake_does_not_end_it() -> None:
    garbage = random.Random(5)
    async with PeersWorld.opened() as world:
        peer = await RawPeer.to(await world.publish(offer()), world.address)
        await peer.check()
        hello = peer.dtls.begin()[0]
        for i in range(300):
            peer.put(bytes((garbage.randrange(20, 64),)) + garbage.randbytes(garbage.randrange(0, 300)))
            peer.put(hello[: garbage.randrange(1, len(hello))])
            if i % 50 == 0:
                await asyncio.sleep(0.02)
        peer.put(hello)
        await peer.shake()
        peer.put(peer.rtp())
        await until(lambda: bool(world.listeners) and world.listeners["cam"].packets["opus"] == 1)
        assert not world.peers.errors["internal"]
        peer.close()


@pytest.mark.parametrize("what", ["receive_rtp", "tick", "close"])
async def test_a_mistake_of_ours_costs_one_peer_only(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistake(*_: object) -> None:
        raise ZeroDivisionError

    async with PeersWorld.opened() as world:
        good = await publishing(world, "good")
        bad = await publishing(world, "bad")
        monkeypatch.setattr(world.taken[1].sink, what, mistake)
        bad.put(bad.rtp())
        if what == "close":
            world.taken[1].close(EndReason.STOPPED)
        await until(lambda: world.taken[1].is_closed)
        good.put(good.rtp())
        await until(lambda: world.listeners["good"].packets["opus"] == 2)
        assert world.taken[0].is_connected
        assert world.peers.errors["internal"] == 1
        good.close()
        bad.close()
