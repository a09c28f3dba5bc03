"""Peers by an independent client: real checks, real DTLS, real SRTP, over one port."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
from helpers.packets import audio, batch, new_stream, video
from helpers.patience import PATIENCE_S, until
from helpers.peers_world import PeersWorld
from helpers.raw_peer import offer
from helpers.rtc_client import RtcClient

from aircheck.facts import EndReason
from aircheck.webrtc import peers as peers_module
from aircheck.webrtc.errors import StreamNotFound, StreamNotReady
from aircheck.webrtc.peer import Peer
from aircheck.webrtc.port import INTERVAL_S, QUICK_INTERVAL_S
from aircheck.webrtc.states import Info, PeerState, PeerTimeouts


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_a_client_that_publishes_feeds_a_stream(codec: str) -> None:
    async with PeersWorld.opened() as world, RtcClient() as client:
        await client.publish(world.publish, video_codecs=[codec])
        await client.connected()
        await until(lambda: "cam" in world.listeners)
        heard = world.listeners["cam"].packets
        await until(lambda: heard[codec.lower()] >= 10 and heard["opus"] >= 10)
        stream = world.registry.find("cam")
        assert stream is not None
        assert stream.id == world.taken[0].id
        assert not world.peers.errors["srtp_authentication"]


async def test_a_client_watches_what_another_publishes() -> None:
    async with PeersWorld.opened() as world, RtcClient() as publisher, RtcClient() as viewer:
        await publisher.publish(world.publish)
        await until(lambda: bool(world.listeners) and world.listeners["cam"].packets["vp8"] > 3)
        await viewer.play(world.play)
        async with asyncio.timeout(PATIENCE_S):
            picture = await viewer.received["video"].recv()
            sound = await viewer.received["audio"].recv()
        assert (picture.width, picture.height) == (160, 120)
        assert sound.sample_rate == 48000


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_who_watches_before_the_first_picture_hears_at_once_and_sees_when_it_comes(codec: str) -> None:
    begin = asyncio.Event()
    async with PeersWorld.opened() as world, RtcClient() as publisher, RtcClient() as viewer:
        await publisher.publish(world.publish, pictures_begin=begin)
        await until(lambda: (stream := world.registry.find("cam")) is not None and bool(stream.tracks))
        await viewer.play(world.play, video_codecs=[codec])
        assert f"{codec}/90000" in viewer.answer
        async with asyncio.timeout(PATIENCE_S):
            await viewer.received["audio"].recv()
            begin.set()
            picture = await viewer.received["video"].recv()
        assert (picture.width, picture.height) == (160, 120)


async def test_who_comes_with_the_first_sound_of_an_encoder_is_promised_its_pictures() -> None:
    async with PeersWorld.opened() as world, RtcClient() as viewer:
        stream = new_stream("cam")
        world.registry.publish(stream)
        watching = asyncio.create_task(viewer.play(world.play))
        await asyncio.sleep(0.1)
        stream.publish(batch([audio(0)], changed=True, arrival_ns=time.time_ns()))
        await asyncio.sleep(0.1)
        assert not watching.done()
        stream.publish(batch([video(0, key=True)], changed=True, arrival_ns=time.time_ns()))
        await watching
        assert "H264/90000" in viewer.answer
        assert "opus/48000" in viewer.answer


async def test_stream_that_shows_sound_only_is_not_waited_for_long() -> None:
    pictures = ("m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:1", "a=recvonly", "a=rtpmap:96 H264/90000")
    async with PeersWorld.opened() as world:
        stream = new_stream("cam")
        world.registry.publish(stream)
        stream.publish(batch([audio(0)], changed=True, arrival_ns=time.time_ns() - peers_module.SETTLED_NS))
        answer = await world.play(offer(direction="recvonly", lines=pictures))
        assert "m=audio 9 " in answer
        assert "m=video 0 " in answer


async def test_stream_that_shows_nothing_is_refused_as_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "READY_S", 0.1)
    async with PeersWorld.opened() as world, RtcClient() as viewer:
        world.registry.publish(new_stream("cam"))
        with pytest.raises(StreamNotReady):
            await viewer.play(world.play)


async def test_stream_that_ends_while_it_is_waited_for_is_not_there() -> None:
    async with PeersWorld.opened() as world, RtcClient() as viewer:
        stream = new_stream("cam")
        world.registry.publish(stream)
        watching = asyncio.create_task(viewer.play(world.play))
        await asyncio.sleep(0.1)
        world.registry.end(stream, EndReason.UNPUBLISHED, time.time_ns())
        with pytest.raises(StreamNotFound) as refusal:
            await watching
        assert not isinstance(refusal.value, StreamNotReady)


async def test_viewers_are_told_that_the_publisher_has_stopped() -> None:
    async with PeersWorld.opened() as world, RtcClient() as viewer:
        async with RtcClient() as publisher:
            await publisher.publish(world.publish)
            await until(lambda: bool(world.listeners) and world.listeners["cam"].packets["vp8"] > 3)
            await viewer.play(world.play)
            await viewer.connected()
        watching = world.taken[1]
        await until(lambda: watching.is_closed)
        assert watching.info == Info.PUBLISHER_STOP
        assert world.listeners["cam"].end_reason is EndReason.UNPUBLISHED
        assert len(world.peers) == 0


async def test_the_port_is_drained_more_often_when_somebody_comes_and_while_somebody_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with PeersWorld.opened() as world:
        assert world.peers.port.interval_s == INTERVAL_S
        await world.publish(offer(), name="another")
        assert world.peers.port.interval_s == QUICK_INTERVAL_S
        monkeypatch.setattr(peers_module, "NEW_S", 0)
        await until(lambda: world.peers.port.interval_s == INTERVAL_S)
        stream = new_stream("cam")
        world.registry.publish(stream)
        stream.publish(batch([video(0, key=True), audio(0)], changed=True, arrival_ns=time.time_ns()))
        await world.play(offer(direction="recvonly"))
        assert world.peers.port.interval_s == QUICK_INTERVAL_S
        world.taken[1].close()
        await until(lambda: world.peers.port.interval_s == INTERVAL_S)


async def test_many_peers_share_one_port() -> None:
    async with PeersWorld.opened() as world:
        clients = [RtcClient() for _ in range(4)]
        try:
            for i, client in enumerate(clients):
                await client.publish(partial(world.publish, name=f"cam-{i}"), has_video=False)
            await until(lambda: len(world.listeners) == 4)
            await until(lambda: all(one.packets["opus"] > 5 for one in world.listeners.values()))
            assert {f" {world.address[1]} typ host" in client.answer for client in clients} == {True}
        finally:
            for client in clients:
                await client.connection.close()


async def test_states_come_in_order() -> None:
    states: list[PeerState] = []

    def changed(peer: Peer) -> None:
        states.append(peer.state)

    async with PeersWorld.opened() as world:
        async with RtcClient() as client:
            await client.publish(partial(world.publish, on_change=changed), has_video=False)
            await client.connected()
        await until(lambda: len(world.peers) == 0)
    assert states == [PeerState.CHECKED, PeerState.CONNECTED, PeerState.CLOSED]


async def test_peers_are_reached_by_ipv6() -> None:
    async with PeersWorld.opened(host="::1") as world, RtcClient() as client:
        await client.publish(world.publish, has_video=False)
        await until(lambda: "cam" in world.listeners)
        await until(lambda: world.listeners["cam"].packets["opus"] > 5)
        assert world.taken[0].remote_address.startswith("[")


async def test_a_publisher_that_vanishes_fails_by_keep_alive() -> None:
    async with PeersWorld.opened(timeouts=PeerTimeouts(silence_s=0.5)) as world, RtcClient() as client:
        await client.publish(world.publish, has_video=False)
        await until(lambda: "cam" in world.listeners)
        await client.vanish()
        await until(lambda: world.taken[0].is_closed)
        assert world.taken[0].info == Info.KEEP_ALIVE
        assert world.listeners["cam"].end_reason is EndReason.TIMED_OUT


async def test_stopping_ends_every_peer_in_good_order() -> None:
    async with RtcClient() as client:
        async with PeersWorld.opened() as world:
            await client.publish(world.publish, has_video=False)
            await client.connected()
            await until(lambda: "cam" in world.listeners)
        assert world.listeners["cam"].end_reason is EndReason.SHUTDOWN
        await until(lambda: client.connection.connectionState == "closed")
