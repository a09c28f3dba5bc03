from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from helpers.clocks import MovableClock
from helpers.packets import av_batches
from helpers.patience import PATIENCE_S, until
from helpers.rtmp_peer import Peer
from helpers.tools import requires

from aircheck.clock import Clock, SystemClock
from aircheck.facts import EndReason
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.ingest.flv_demux import FlvDemuxer
from aircheck.ingest.pump import Pump
from aircheck.ingest.rtmp_server import RtmpServer, Timeouts
from aircheck.media.packet import Batch
from aircheck.media.track import Kind
from aircheck.playback.rtmp_play import RtmpViewer
from aircheck.service.access import AccessService
from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.adobe_auth import Credentials
from aircheck.wire.rtmp.messages import MediaMessage

BATCHES = list(av_batches(2000))


class Listener:
    """Keeps what every stream of the registry delivers."""

    is_live = False
    backlog_ratio = 0.0

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.reasons: list[EndReason] = []

    def deliver(self, batch: Batch) -> None:
        self.batches.append(batch)

    def ended(self, reason: EndReason) -> None:
        self.reasons.append(reason)

    def data(self) -> list[bytes]:
        """Sound and pictures; what the publisher says of them (`onMetaData`) is left out."""
        packets = (packet for batch in self.batches for packet in batch.packets)
        return [bytes(packet.data) for packet in packets if packet.track.kind is not Kind.DATA]


class Rig:
    def __init__(
        self,
        access: AccessService | None = None,
        *,
        interval_s: float = 0.05,
        clock: Clock | None = None,
        **options: object,
    ) -> None:
        self.registry = Registry()
        self.listener = Listener()
        self.streams: list[Stream] = []
        self.registry.listen(published=self._published)
        self.pump = Pump(asyncio.get_running_loop(), interval_s=interval_s)
        self.server = RtmpServer(
            self.pump,
            self.registry,
            access or AccessService(),
            clock or SystemClock(),
            new_viewer=lambda stream, session, number: RtmpViewer(stream, session, number),
            back_buffer_bytes=1 << 20,
            **options,  # type: ignore[arg-type]
        )

    def _published(self, stream: Stream) -> None:
        self.streams.append(stream)
        stream.subscribe(self.listener)

    def listen(self, tls: ssl.SSLContext | None = None) -> tuple[str, int]:
        return self.server.listen("127.0.0.1", 0, tls=tls)


@contextlib.asynccontextmanager
async def running(
    access: AccessService | None = None, *, interval_s: float = 0.05, **options: object
) -> AsyncIterator[Rig]:
    rig = Rig(access, interval_s=interval_s, **options)
    try:
        yield rig
    finally:
        await rig.server.stop(EndReason.SHUTDOWN)
        rig.pump.close()


def sent(batches: list[Batch]) -> list[bytes]:
    return [bytes(packet.data) for batch in batches for packet in batch.packets]


async def test_every_packet_of_a_publisher_reaches_the_hub() -> None:
    async with running() as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        await peer.send(number, BATCHES)
        await peer.unpublish(number)
        await until(lambda: rig.listener.reasons)
    assert rig.listener.data() == sent(BATCHES)
    assert rig.listener.reasons == [EndReason.UNPUBLISHED]
    (stream,) = rig.streams
    assert (stream.name, stream.facts.app, stream.facts.protocol) == ("cam", "live", "rtmp")
    assert stream.counters.packets == len(sent(BATCHES)) + 1, "and onMetaData"


async def test_who_stops_gets_all_that_the_publisher_has_sent_by_then() -> None:
    """Also what waits in the kernel for the next turn of the pump, which is far away here."""
    async with running(interval_s=60) as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        await until(lambda: rig.streams)
        await peer.send(number, BATCHES)
        rig.streams[0].flush()
        assert rig.listener.data() == sent(BATCHES)


async def test_what_no_longer_fits_the_kernel_here_is_taken_too() -> None:
    batches = list(av_batches(4000)) * 40
    async with running(interval_s=60) as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        await until(lambda: rig.streams)
        with socket.socket(fileno=os.dup(peer.socket.fileno())) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            message = peer.wire_of(number, batches)
            assert raw.send(message) == len(message) > 1 << 20
        rig.streams[0].flush()
        assert len(rig.listener.data()) == len(sent(batches))


async def test_a_flush_asked_for_by_what_is_just_delivered_does_no_harm() -> None:
    class Flushing(Listener):
        def deliver(self, batch: Batch) -> None:
            super().deliver(batch)
            rig.streams[0].flush()

    async with running() as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        await until(lambda: rig.streams)
        listener = Flushing()
        rig.streams[0].subscribe(listener)
        for one in BATCHES:
            await peer.send(number, [one])
        await until(lambda: len(listener.data()) >= len(sent(BATCHES)))
    assert listener.data() == sent(BATCHES)
    assert rig.server.refused == {}


async def test_what_is_odd_in_the_media_is_counted_with_its_stream() -> None:
    async with running() as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        peer.connection.send_media_batch(number, [(9, 0, b"\x17")] * 3)
        await peer.send(number, BATCHES)
        await until(lambda: len(rig.listener.data()) == len(sent(BATCHES)))
    (stream,) = rig.streams
    assert stream.notices()["malformed_tags"] == 3


async def test_media_sent_before_the_answer_is_not_lost() -> None:
    async with running() as rig, Peer(rig.listen()) as peer:
        await peer.connect()
        await peer.get(ev.Connected)
        peer.connection.publish("cam")
        await peer.flush()
        number = (await peer.get(ev.Published)).stream_id
        await peer.send(number, BATCHES)
        await until(lambda: len(rig.listener.data()) == len(sent(BATCHES)))
    assert rig.listener.data() == sent(BATCHES)


async def test_the_second_publisher_of_a_name_is_refused_and_the_first_goes_on() -> None:
    async with running() as rig:
        address = rig.listen()
        async with Peer(address) as first, Peer(address) as second:
            number = await first.publish("cam")
            assert await second.refused("cam") == "NetStream.Publish.BadName"
            await first.send(number, BATCHES)
            await until(lambda: len(rig.listener.data()) == len(sent(BATCHES)))
        assert rig.server.refused["NetStream.Publish.BadName"] == 1


async def test_a_name_is_free_again_when_its_publisher_vanishes() -> None:
    async with running() as rig:
        address = rig.listen()
        async with Peer(address) as first:
            await first.publish("cam")
        await until(lambda: not len(rig.registry))
        assert rig.listener.reasons == [EndReason.DISCONNECTED]
        async with Peer(address) as second:
            await second.publish("cam")


async def test_the_same_name_in_two_applications_are_two_streams() -> None:
    async with running() as rig:
        address = rig.listen()
        async with Peer(address, app="one") as first, Peer(address, app="two") as second:
            await first.publish("cam")
            await second.publish("cam")
            assert sorted(stream.facts.app for stream in rig.registry) == ["one", "two"]


@pytest.mark.parametrize(
    ("key", "query"),
    [
        ("cam?user=studio&pass=secret", ""),
        ("cam", "?user=studio&pass=secret"),
        ("cam?token=t0ken", ""),
        ("cam", "?token=t0ken"),
        ("the-key", ""),
    ],
)
async def test_each_kind_of_credential_lets_in(key: str, query: str) -> None:
    access = AccessService(users={"studio": "secret"}, tokens=["t0ken"], keys=["the-key"])
    async with running(access) as rig, Peer(rig.listen()) as peer:
        await peer.publish(key, query)
        assert rig.streams[0].name == key.partition("?")[0]


@pytest.mark.parametrize("key", ["cam", "cam?user=studio&pass=wrong", "cam?token=", "cam?user=nobody&pass="])
async def test_who_has_no_credentials_is_refused_with_a_reason(key: str) -> None:
    access = AccessService(users={"studio": "secret"}, tokens=["t0ken"])
    async with running(access) as rig, Peer(rig.listen()) as peer:
        assert await peer.refused(key) == "NetStream.Publish.Unauthorized"
        assert not rig.streams


async def test_an_encoder_with_a_login_answers_the_challenge() -> None:
    access = AccessService(users={"studio": "secret"})
    credentials = Credentials("studio", "secret")
    async with running(access, asks_for_login=True) as rig:
        address, query = rig.listen(), ""
        for _ in range(2):
            async with Peer(address, credentials=credentials) as peer:
                await peer.connect(query)
                query = "?" + (await peer.get(ev.ConnectRejected)).retry_query
                assert "authmod=adobe" in query
        async with Peer(address, credentials=credentials) as peer:
            await peer.publish("cam", query)
        assert rig.streams[0].facts.login == "studio"


async def test_a_wrong_password_does_not_pass_the_challenge() -> None:
    access = AccessService(users={"studio": "secret"})
    credentials = Credentials("studio", "guess")
    async with running(access, asks_for_login=True) as rig:
        address, query = rig.listen(), ""
        for _ in range(3):
            async with Peer(address, credentials=credentials) as peer:
                await peer.connect(query)
                query = "?" + (await peer.get(ev.ConnectRejected)).retry_query
        assert rig.server.refused["authentication"] == 1
        assert not rig.streams


async def test_a_peer_that_never_begins_is_let_go() -> None:
    async with running(timeouts=Timeouts(handshake_s=0.2)) as rig:
        silent = socket.create_connection(rig.listen())
        silent.settimeout(PATIENCE_S)
        assert await asyncio.to_thread(silent.recv, 1) == b""
        silent.close()
        assert rig.server.refused["handshake_timeout"] == 1
        assert not rig.server.sessions


async def test_a_publisher_that_falls_silent_frees_its_name() -> None:
    async with running(timeouts=Timeouts(handshake_s=5, idle_s=0.3)) as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        await peer.send(number, BATCHES)
        peer._listener.cancel()  # not even pings are answered
        await until(lambda: rig.listener.reasons)
        assert rig.listener.reasons == [EndReason.TIMED_OUT]


async def test_connections_over_the_limit_are_refused_at_once() -> None:
    async with running(max_connections=2) as rig:
        address = rig.listen()
        peers = [socket.create_connection(address) for _ in range(3)]
        peers[2].settimeout(PATIENCE_S)
        assert await asyncio.to_thread(peers[2].recv, 1) == b""
        assert rig.server.refused["too_many_connections"] == 1
        for peer in peers:
            peer.close()


async def test_garbage_ends_only_its_own_connection() -> None:
    async with running() as rig:
        address = rig.listen()
        async with Peer(address) as peer:
            number = await peer.publish("cam")
            vandal = socket.create_connection(address)
            vandal.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(3000))
            vandal.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(vandal.recv, 1) == b""
            vandal.close()
            await peer.send(number, BATCHES)
            await until(lambda: len(rig.listener.data()) == len(sent(BATCHES)))
        assert rig.server.refused["protocol_error"] == 1


async def played(viewer: Peer, pictures: int) -> list[tuple[int, int, bytes]]:
    """What a viewer is sent, up to so many pictures."""
    got: list[tuple[int, int, bytes]] = []
    async with asyncio.timeout(PATIENCE_S):
        while sum(1 for kind, _, body in got if kind == 9 and body[1] == 1) < pictures:
            event = await viewer.get(ev.MediaReceived)
            got += [(kind, ts, bytes(body)) for kind, ts, body in event.messages]
    return got


async def test_a_viewer_gets_headers_the_recent_past_and_what_comes() -> None:
    async with running() as rig:
        address = rig.listen()
        async with Peer(address) as publisher, Peer(address) as first, Peer(address) as viewer:
            number = await publisher.publish("cam")
            await first.play("cam")
            await until(lambda: rig.streams[0].is_watched)
            await publisher.send(number, BATCHES[:5])
            await until(lambda: len(rig.listener.data()) == len(sent(BATCHES[:5])))
            await viewer.play("cam")
            await until(lambda: len(rig.streams[0].subscribers) == 3)
            await publisher.send(number, BATCHES[5:])
            for each in (first, viewer):
                messages = await played(each, 50)
                video = [(ts, body[5:]) for kind, ts, body in messages if kind == 9 and body[1] == 1]
                assert video[0][0] == 0
                assert [body for _, body in video] == [
                    bytes(p.data) for b in BATCHES for p in b.packets if p.track.is_video
                ]
                assert messages[0][0] == 18
        await until(lambda: not rig.streams[0].is_watched)


async def test_what_slow_viewers_missed_stays_counted_when_they_are_gone() -> None:
    async with running() as rig:
        address = rig.listen()
        async with Peer(address) as publisher, Peer(address) as viewer:
            await publisher.publish("cam")
            await viewer.play("cam")
            await until(lambda: rig.streams[0].is_watched)
            (playing,) = (one for session in rig.server.sessions.values() for one in session.viewers.values())
            playing.dropped_packets = 5
            assert rig.server.viewer_dropped_packets == 5
        await until(lambda: not rig.streams[0].is_watched)
        assert rig.server.viewer_dropped_packets == 5


async def test_the_first_viewer_begins_at_once_where_the_past_is_kept() -> None:
    async with running(keeps_past=True) as rig:
        address = rig.listen()
        async with Peer(address) as publisher, Peer(address) as viewer:
            number = await publisher.publish("cam")
            await publisher.send(number, BATCHES[:5])
            await until(lambda: len(rig.listener.data()) == len(sent(BATCHES[:5])))
            await viewer.play("cam")
            messages = await played(viewer, 5)
            assert next(ts for kind, ts, body in messages if kind == 9 and body[1] == 1) == 0


async def test_a_publisher_is_read_in_batches_while_nobody_watches() -> None:
    async with running() as rig:
        address = rig.listen()
        async with Peer(address) as publisher, Peer(address) as viewer:
            number = await publisher.publish("cam")
            await publisher.send(number, BATCHES[:5])
            await until(lambda: len(rig.listener.data()) == len(sent(BATCHES[:5])))
            session = next(iter(rig.server.sessions.values()))
            assert session.link is not None
            assert session.link.is_batched
            await viewer.play("cam")
            await until(lambda: rig.streams[0].is_watched)
            assert not session.link.is_batched


async def test_playing_what_is_not_there_is_answered_not_found() -> None:
    async with running() as rig, Peer(rig.listen()) as viewer:
        await viewer.connect()
        await viewer.get(ev.Connected)
        viewer.connection.play("nothing")
        await viewer.flush()
        assert (await viewer.get(ev.StreamRejected)).code == "NetStream.Play.StreamNotFound"


async def test_viewers_are_told_when_the_stream_ends() -> None:
    async with running() as rig:
        address = rig.listen()
        async with Peer(address) as publisher, Peer(address) as viewer:
            number = await publisher.publish("cam")
            await publisher.send(number, BATCHES)
            await viewer.play("cam")
            await publisher.unpublish(number)
            assert (await viewer.get(ev.StreamClosed)).reason is not None


async def test_a_codec_that_nobody_can_decode_is_refused_with_its_name() -> None:
    async with running() as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("voice")
        nellymoser = bytes([0x62]) + bytes(40)
        peer.connection.send_media_batch(number, [(8, 0, nellymoser), (8, 20, nellymoser)])
        await peer.flush()
        status = await peer.get(ev.StreamRejected)
        assert status.code == "NetStream.Publish.Failed"
        assert "nellymoser" in status.description.lower()
        await peer.closed()
        assert rig.server.refused["unsupported_codec"] == 1


async def test_a_stop_asks_capable_peers_to_reconnect_and_takes_what_they_had_sent() -> None:
    async with running() as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        await peer.send(number, BATCHES)
        await rig.server.stop(EndReason.SHUTDOWN)
        await peer.get(ev.ReconnectRequested)
        assert rig.listener.reasons == [EndReason.SHUTDOWN]
        assert rig.listener.data() == sent(BATCHES)


async def test_a_publisher_that_has_to_go_is_told_so_and_not_cut_off_while_it_sends() -> None:
    async with running() as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        await peer.send(number, BATCHES[:2])
        late = peer.wire_of(number, BATCHES)
        await rig.server.stop(EndReason.SHUTDOWN)
        for start in range(0, len(late), 4096):
            await asyncio.to_thread(os.write, peer.socket.fileno(), late[start : start + 4096])
            await asyncio.sleep(0.005)
        assert (await peer.get(ev.StatusReceived)).code == "NetStream.Unpublish.Success"
        assert (await peer.get(ev.StreamRejected)).description == "the server is shutting down"
        assert peer.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        await peer.vanish()
        await rig.server.until_gone()
        assert len(rig.pump) == 0
        assert rig.listener.data() == sent(BATCHES[:2])


def make_certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@requires("openssl")
async def test_rtmps_publishes_like_rtmp(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(cert, key)
    theirs = ssl.create_default_context(cafile=str(cert))
    theirs.check_hostname = False
    many = list(av_batches(20_000))
    async with running() as rig, Peer(rig.listen(ours), tls=theirs) as peer:
        number = await peer.publish("cam")
        await peer.send(number, many)
        await peer.unpublish(number)
        await until(lambda: rig.listener.reasons)
        assert rig.streams[0].facts.protocol == "rtmps"
    assert rig.listener.data() == sent(many)


async def test_a_mistake_of_ours_costs_one_session_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feed = FlvDemuxer.feed

    def stumble(demuxer: FlvDemuxer, messages: Sequence[MediaMessage], arrival_ns: int) -> Batch:
        if any(bytes(message[2]).startswith(b"\x17\x01\x00\x00\x00stumble") for message in messages):
            raise ZeroDivisionError("a number that nobody expected")
        return feed(demuxer, messages, arrival_ns)

    monkeypatch.setattr(FlvDemuxer, "feed", stumble)
    async with running() as rig, Peer(rig.listen()) as honest, Peer(honest.address) as odd:
        number, odd_number = await honest.publish("honest"), await odd.publish("odd")
        await honest.send(number, BATCHES[:5])
        odd.connection.send_media_batch(odd_number, [(9, 0, b"\x17\x01\x00\x00\x00stumble")])
        await odd.flush()
        await odd.closed()
        await honest.send(number, BATCHES[5:])
        await honest.unpublish(number)
        await until(lambda: len(rig.listener.reasons) == 2)
        assert rig.server.refused["internal_error"] == 1
        assert rig.listener.data() == sent(BATCHES)
        assert rig.listener.reasons == [EndReason.INTERNAL_ERROR, EndReason.UNPUBLISHED]
    assert "session broken off" in caplog.text


async def test_who_has_stopped_publishing_may_take_as_long_as_a_newcomer() -> None:
    clock = MovableClock()
    timeouts = Timeouts(handshake_s=200, idle_s=5000)
    async with running(timeouts=timeouts, clock=clock) as rig, Peer(rig.listen()) as peer:
        number = await peer.publish("cam")
        await until(lambda: rig.streams)
        (session,) = rig.server.sessions.values()
        clock.ahead_s += 300
        session.sweep(clock.monotonic_s())
        await peer.unpublish(number)
        await until(lambda: not session.is_busy)
        clock.ahead_s += 100
        session.sweep(clock.monotonic_s())
        assert session.session_id in rig.server.sessions
        clock.ahead_s += 150
        session.sweep(clock.monotonic_s())
        await peer.closed()
        assert rig.server.refused == {"idle_timeout": 1}
