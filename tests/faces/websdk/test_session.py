"""A session of the WebSDK without a socket: what a page says, what it is told, in which order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers.fake_peers import OFFER, FakePeers
from helpers.live_node import LiveNode
from helpers.packets import av_batches
from helpers.patience import until
from helpers.recorder_rig import MemoryJournal, feed
from hypothesis import given
from hypothesis import strategies as st

from aircheck.clock import SystemClock
from aircheck.errors import AircheckError
from aircheck.faces.websdk import streams as streams_module
from aircheck.faces.websdk.session import (
    BAD_MESSAGES_MAX,
    STREAMS_MAX,
    Address,
    SdkSession,
)
from aircheck.faces.websdk.streams import MayConnect, SdkStreams
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Admission, Attempt
from aircheck.hub.registry import Registry
from aircheck.recording.recorder import Recorder
from aircheck.service.recorded_names import RecordedNames
from aircheck.webrtc import errors
from aircheck.webrtc.states import Info, PeerState

ADDRESS = Address("192.0.2.7:50159", "192.0.2.1:8080", {"token": "of the url"})
CONNECTION = {
    "appKey": "defaultApp",
    "mediaProviders": ["WebRTC", "MSE"],
    "authToken": None,
    "clientVersion": "2.0",
    "clientBrowserVersion": "Mozilla/5.0",
    "custom": {"user": "anna", "nested": {"a": 1}},
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers of these tests send no media that could be waited for."""
    monkeypatch.setattr(streams_module, "READY_CHECKS", 0)


async def settle() -> None:
    """What a message begins in the background is done."""
    for _ in range(3):
        await asyncio.sleep(0)


@dataclass
class Page:
    """What the page is told."""

    recorder: Recorder
    registry: Registry
    peers: FakePeers = field(default_factory=FakePeers)
    said: list[tuple[str, list[Any]]] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)
    record_stop_timeout_s: float = 5.0
    may_connect: MayConnect | None = None

    def __post_init__(self) -> None:
        streams = SdkStreams(
            peers=self.peers,
            registry=self.registry,
            names=RecordedNames(self.recorder),
            record_stop_timeout_s=self.record_stop_timeout_s,
            may_connect=self.may_connect,
        )
        self.session = SdkSession(
            streams, SystemClock(), ADDRESS, send=self._take, hang_up=self.hung_up.append
        )

    def _take(self, text: str) -> None:
        message = json.loads(text)
        assert set(message) == {"message", "data"}
        assert isinstance(message["data"], list)
        assert message["data"]
        self.said.append((message["message"], message["data"]))

    async def say(self, message: str, /, **data: Any) -> None:
        self.session.receive(json.dumps({"message": message, "data": [data or None]}))
        await settle()

    async def connect(self) -> None:
        await self.say("connection", **CONNECTION)
        self.said.clear()

    async def publish(self, media_session_id: str = "m1", name: str = "cam", **more: Any) -> None:
        asked = {
            "mediaSessionId": media_session_id,
            "name": name,
            "published": True,
            "hasVideo": True,
            "hasAudio": True,
            "status": "PENDING",
            "record": True,
            "mediaProvider": "WebRTC",
            "sdp": OFFER,
            "bitrate": 0,
        }
        await self.say("publishStream", **asked | more)

    async def play(self, media_session_id: str = "v1", name: str = "cam", **more: Any) -> None:
        asked = {"mediaSessionId": media_session_id, "name": name, "published": False, "sdp": OFFER}
        await self.say("playStream", **asked | more)

    async def connect_peer(self) -> None:
        """The last peer has connected; until the page has been told."""
        self.peers.last.connect()
        await settle()

    async def end(self, state: PeerState, reason: EndReason, info: str) -> None:
        """The last peer ends; until the page has been told."""
        self.peers.last.end(state, reason, info)
        await self.session.tasks.join()

    @property
    def statuses(self) -> list[tuple[str, str]]:
        """Status and info of each `notifyStreamStatusEvent`."""
        told = [data[0] for name, data in self.said if name == "notifyStreamStatusEvent"]
        return [(one["status"], one.get("info", "")) for one in told]

    @property
    def last(self) -> dict[str, Any]:
        told: dict[str, Any] = self.said[-1][1][0]
        return told


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[LiveNode]:
    async with LiveNode.opened(tmp_path) as node:
        yield node


@pytest.fixture
async def page(node: LiveNode) -> AsyncIterator[Page]:
    page = Page(node.recorder, node.registry)
    yield page
    await page.session.close()


async def test_connection_is_answered_with_user_data_and_a_ping(page: Page) -> None:
    await page.say("connection", **CONNECTION)
    (name, (facts,)), ping = page.said
    assert name == "getUserData"
    assert facts == {
        "status": "ESTABLISHED",
        "authToken": "/192.0.2.7:50159/192.0.2.1:8080",
        "appKey": "defaultApp",
        "mediaProviders": ["WebRTC"],
        "useWsTunnel": False,
        "useWsTunnelPacketization2": False,
        "useBase64BinaryEncoding": False,
        "keepAlive": False,
    }
    assert ping == ("ping", [None])
    assert page.session.is_established
    status = page.session.status
    assert (status.protocol, status.app, status.client) == ("websdk", "defaultApp", "Mozilla/5.0")


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_a_page_waits_for_whoever_decides_about_it(node: LiveNode, is_allowed: bool) -> None:
    decided = asyncio.Event()
    asked: list[Attempt] = []

    async def decide(attempt: Attempt) -> Admission:
        asked.append(attempt)
        await decided.wait()
        return Admission(is_allowed, reason="not today")

    page = Page(node.recorder, node.registry, may_connect=decide)
    for _ in range(2):
        await page.say("connection", **CONNECTION)
    await page.publish()
    assert [name for name, _ in page.said] == ["notifyStreamStatusEvent"]
    assert page.session.is_asking
    page.said.clear()
    decided.set()
    await page.session.tasks.join()
    assert [name for name, _ in page.said] == (["getUserData", "ping"] if is_allowed else [])
    assert page.hung_up == ([] if is_allowed else ["not today"])
    assert (page.session.is_established, page.session.is_asking) == (is_allowed, False)
    (attempt,) = asked
    assert (attempt.app, attempt.session_id) == ("defaultApp", page.session.session_id)
    assert attempt.query == {"token": "of the url", "user": "anna"}
    await page.session.close()


async def test_publishing_is_answered_in_order(page: Page) -> None:
    await page.connect()
    await page.publish()
    assert page.said == [("setRemoteSDP", ["m1", page.peers.last.answer])]
    await page.connect_peer()
    assert page.statuses == [("PUBLISHING", "")]
    (asked,) = page.peers.asked
    assert (asked.what, asked.offer, asked.media_session_id) == ("publish", OFFER, "m1")
    assert asked.wants_recording
    assert (asked.attempt.protocol, asked.attempt.app, asked.attempt.name) == ("websdk", "defaultApp", "cam")
    assert asked.attempt.session_id == page.session.session_id


async def test_playing_is_answered_in_order(page: Page) -> None:
    await page.connect()
    await page.play()
    await page.connect_peer()
    await page.say("stopStream", mediaSessionId="v1", name="cam", published=False)
    await page.session.tasks.join()
    assert [name for name, _ in page.said] == ["setRemoteSDP"] + ["notifyStreamStatusEvent"] * 2
    assert [status for status, _ in page.statuses] == ["PLAYING", "STOPPED"]
    assert page.peers.asked[0].what == "play"
    assert "recordName" not in page.last


async def test_credentials_are_those_of_the_url_the_connection_and_the_stream(page: Page) -> None:
    await page.connect()
    await page.publish(custom={"token": "of the stream", "list": [1]})
    assert page.peers.asked[0].attempt.query == {"user": "anna", "token": "of the stream"}
    await page.play()
    assert page.peers.asked[1].attempt.query == {"user": "anna", "token": "of the url"}


async def test_record_name_is_expected_at_first_and_final_at_the_end(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, template="{streamName}-{endTime}") as node:
        page = Page(node.recorder, node.registry)
        await page.connect()
        await page.publish()
        stream = node.publish("cam", stream_id="m1")
        node.recorder.record(stream, node.plan, requested_by="settings")
        await page.connect_peer()
        assert page.last["recordName"] == "cam-{endTime}.mp4"
        await feed(stream, av_batches(1000))
        node.unpublish(stream)
        await page.say("unPublishStream", mediaSessionId="m1", name="cam", published=True, record=False)
        await page.session.tasks.join()
        assert page.last["status"] == "UNPUBLISHED"
        assert page.last["record"] is True
        final = page.last["recordName"]
        assert final.startswith("cam-")
        assert (node.record_dir / final).is_file()
        await page.session.close()


async def test_end_waits_for_the_file_only_so_long(tmp_path: Path) -> None:
    async with LiveNode.opened(tmp_path, template="{streamName}-{endTime}") as node:
        page = Page(node.recorder, node.registry, record_stop_timeout_s=0.05)
        await page.connect()
        await page.publish()
        stream = node.publish("cam", stream_id="m1")
        node.recorder.record(stream, node.plan, requested_by="settings")
        await page.connect_peer()
        await page.say("unPublishStream", mediaSessionId="m1")  # the stream itself does not end
        await page.session.tasks.join()
        assert (page.last["status"], page.last["recordName"]) == ("UNPUBLISHED", "cam-{endTime}.mp4")
        await page.session.close()


async def test_recording_without_media_has_no_name_at_the_end(node: LiveNode, page: Page) -> None:
    await page.connect()
    await page.publish()
    stream = node.publish("cam", stream_id="m1")
    node.recorder.record(stream, node.plan, requested_by="settings")
    await page.connect_peer()
    assert page.last["recordName"] == "cam.mp4"
    node.unpublish(stream)
    await page.say("unPublishStream", mediaSessionId="m1")
    await page.session.tasks.join()
    assert page.last["recordName"] == ""


async def test_publishing_is_told_when_all_that_was_announced_flows(
    node: LiveNode, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "READY_CHECKS", 100_000)
    await page.connect()
    await page.publish()
    stream = node.publish("cam", stream_id="m1")
    await page.connect_peer()
    await feed(stream, av_batches(400, video_track=None))
    await asyncio.sleep(0.1)
    assert page.statuses == []
    await feed(stream, av_batches(400))
    await until(lambda: page.statuses)
    assert page.statuses == [("PUBLISHING", "")]


async def test_stream_that_has_no_media_is_not_ready(page: Page) -> None:
    await page.connect()
    page.peers.refusal = errors.StreamNotReady("no")
    await page.play()
    assert page.statuses == [("FAILED", "Publish stream is not ready")]


async def test_page_that_stops_while_it_waits_is_obeyed(page: Page) -> None:
    await page.connect()
    page.peers.may_answer.clear()
    await page.play()
    await page.say("stopStream", mediaSessionId="v1")
    page.peers.may_answer.set()
    await settle()
    assert page.statuses == [("STOPPED", "Stopped by user")]


async def test_stream_that_nobody_records_has_no_record_name(page: Page) -> None:
    await page.connect()
    await page.publish(record=False)
    await page.connect_peer()
    assert page.peers.asked[0].wants_recording is False
    assert page.last["record"] is False
    assert "recordName" not in page.last


REFUSALS = [
    (errors.StreamNotFound("no"), "Stream not found"),
    (errors.NameInUse("no"), "Stream name is already in use"),
    (errors.MediaSessionInUse("no"), "MediaSessionId is already in use"),
    (errors.NoCommonCodecs("no"), "No common codecs"),
    (errors.NotAllowed("no"), "Restricted access"),
    (errors.BadOffer("no"), "Failed to add stream to proxy"),
    (errors.TooManyPeers("no"), "Failed to add stream to proxy"),
    (AircheckError("no"), "Failed by error"),
]


@pytest.mark.parametrize(("refusal", "info"), REFUSALS, ids=[info for _, info in REFUSALS])
async def test_refusals_are_told_in_words_that_the_client_knows(
    page: Page, refusal: AircheckError, info: str
) -> None:
    await page.connect()
    page.peers.refusal = refusal
    await page.publish("m1")
    await page.play("v1")
    assert page.statuses == [("FAILED", info)] * 2
    assert [data[0]["mediaSessionId"] for _, data in page.said] == ["m1", "v1"]
    page.peers.refusal = None
    await page.publish("m1")
    assert page.said[-1][0] == "setRemoteSDP"


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("rtsp://192.0.2.9/cam", "Failed to connect to rtsp stream"),
        ("rtmp://192.0.2.9/live/cam", "Stream not found"),
        ("rtsp:///cam", "Bad URI"),
        ("rtsp://192.0.2.9:x/cam", "Bad URI"),
        ("rtsp://[1/cam", "Bad URI"),
    ],
)
async def test_names_that_are_sources_fail_in_words_of_sources(page: Page, name: str, info: str) -> None:
    await page.connect()
    page.peers.refusal = errors.StreamNotFound("no")
    await page.play(name=name)
    assert page.statuses == [("FAILED", info)]


ENDS = [
    (PeerState.FAILED, EndReason.TIMED_OUT, Info.ICE_TIMEOUT, "FAILED", "FAILED"),
    (PeerState.FAILED, EndReason.TIMED_OUT, Info.KEEP_ALIVE, "FAILED", "FAILED"),
    (PeerState.FAILED, EndReason.PROTOCOL_ERROR, Info.DTLS_ERROR, "FAILED", "FAILED"),
    (PeerState.FAILED, EndReason.NO_MEDIA, Info.RTP_ACTIVITY, "FAILED", "FAILED"),
    (PeerState.CLOSED, EndReason.STOPPED, Info.TERMINATED, "FAILED", "FAILED"),
    (PeerState.CLOSED, EndReason.UNPUBLISHED, Info.PUBLISHER_STOP, "FAILED", "FAILED"),
    (PeerState.CLOSED, EndReason.UNPUBLISHED, Info.DISCONNECT, "UNPUBLISHED", "STOPPED"),
    (PeerState.CLOSED, EndReason.UNPUBLISHED, Info.USER, "UNPUBLISHED", "STOPPED"),
]


@pytest.mark.parametrize(("state", "reason", "info", "published", "played"), ENDS)
async def test_ends_are_told_with_their_reason(
    page: Page, state: PeerState, reason: EndReason, info: str, published: str, played: str
) -> None:
    await page.connect()
    await page.publish()
    await page.end(state, reason, info)
    await page.play()
    await page.end(state, reason, info)
    assert page.statuses == [(published, info), (played, info)]


async def test_stream_that_the_page_closed_before_it_said_so_is_unpublished_once(page: Page) -> None:
    await page.connect()
    await page.publish()
    await page.connect_peer()
    page.peers.last.end(PeerState.CLOSED, EndReason.UNPUBLISHED, Info.DISCONNECT)  # its goodbye came first
    await page.say("unPublishStream", mediaSessionId="m1")
    await page.session.tasks.join()
    await page.say("unPublishStream", mediaSessionId="m1")
    assert [status for status, _ in page.statuses] == ["PUBLISHING", "UNPUBLISHED", "FAILED"]
    assert page.last["info"] == "Session does not exist"


async def test_media_session_can_be_used_once_at_a_time(page: Page) -> None:
    await page.connect()
    await page.publish("m1")
    await page.play("m1")
    assert page.statuses == [("FAILED", "MediaSessionId is already in use")]
    assert len(page.peers.peers) == 1


@pytest.mark.parametrize("media_session_id", [None, "", 7, "x" * 200, "a\nb"])
async def test_media_session_must_have_an_id(page: Page, media_session_id: object) -> None:
    await page.connect()
    await page.publish(mediaSessionId=media_session_id)
    assert page.statuses == [("FAILED", "MediaSessionId is null")]


@pytest.mark.parametrize("name", [None, "", 5, "x" * 600, "a\0b"])
async def test_streams_must_have_a_name(page: Page, name: object) -> None:
    await page.connect()
    await page.publish(name=name)
    assert page.statuses == [("FAILED", "Failed to add stream to proxy")]


@pytest.mark.parametrize("sdp", [None, "", 5, "hello", "v=0" * 100_000])
async def test_offers_that_cannot_be_read_are_refused(page: Page, sdp: object) -> None:
    await page.connect()
    await page.publish(sdp=sdp)
    assert page.statuses == [("FAILED", "Failed to add stream to proxy")]


async def test_media_of_other_kinds_than_webrtc_is_refused(page: Page) -> None:
    await page.connect()
    await page.play(mediaProvider="MSE")
    assert page.statuses == [("FAILED", "No common codecs")]


async def test_nothing_is_published_before_the_connection(page: Page) -> None:
    await page.publish()
    await page.play()
    assert page.statuses == [("FAILED", "Session not ready")] * 2
    assert page.peers.asked == []


async def test_streams_of_a_session_have_a_limit(page: Page) -> None:
    await page.connect()
    for number in range(STREAMS_MAX + 1):
        await page.play(f"v{number}")
    assert page.statuses == [("FAILED", "Failed to add stream to proxy")]


async def test_availability_is_told(node: LiveNode, page: Page) -> None:
    await page.connect()
    node.publish("cam")
    await page.say("availableStream", mediaSessionId="v1", name="cam")
    await page.say("availableStream", mediaSessionId="v2", name="other")
    assert [(name, data[0]) for name, data in page.said] == [
        ("availableStream", {"id": "v1", "status": "true", "info": ""}),
        ("availableStream", {"id": "v2", "status": "false", "info": "Stream not found"}),
    ]


async def test_data_for_an_application_is_refused_so_that_nobody_waits(page: Page) -> None:
    await page.connect()
    await page.say("sendData", operationId="o1", payload={"a": 1})
    assert page.said[0][0] == "DataStatusEvent"
    assert (page.last["operationId"], page.last["status"]) == ("o1", "FAILED")


async def test_snapshot_is_refused_so_that_nobody_waits(page: Page) -> None:
    await page.connect()
    await page.say("snapshot", mediaSessionId="m1", name="cam")
    assert page.said[0][0] == "notifyStreamEvent"
    assert (page.last["mediaSessionId"], page.last["type"]) == ("m1", "snapshotFailed")
    assert page.last["payload"]["info"]


@pytest.mark.parametrize("name", ["sendStreamEvent", "pong", "submitBugReport", "call", ""])
async def test_messages_that_mean_nothing_here_are_ignored(page: Page, name: str) -> None:
    await page.connect()
    await page.say(name, mediaSessionId="m1")
    assert page.said == []


async def test_ping_of_a_page_is_answered(page: Page) -> None:
    await page.say("ping")
    assert page.said == [("pong", [None])]


async def test_page_that_leaves_ends_its_streams(page: Page) -> None:
    await page.connect()
    await page.publish()
    await page.play()
    await page.session.close()
    assert [peer.end_reason for peer in page.peers.peers] == [EndReason.DISCONNECTED] * 2


BAD = ["", "{", "[]", "7", "null", '{"message": 5}', '{"data": []}', "[" * 100_000, '{"a":' * 50_000, "\0"]


@pytest.mark.parametrize("text", BAD)
async def test_what_is_no_message_is_answered(page: Page, text: str) -> None:
    page.session.receive(text)
    assert page.said[0][0] == "fail"
    assert page.last["status"] == "FAILED"


async def test_page_that_sends_no_messages_again_and_again_is_let_go(page: Page) -> None:
    for _ in range(BAD_MESSAGES_MAX):
        page.session.receive("{")
    assert page.hung_up == []
    page.session.receive("{")
    assert len(page.hung_up) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_MEMBERS = ["mediaSessionId", "name", "sdp", "record", "custom", "mediaProvider", "appKey", "operationId"]
_NAMES = [
    "connection",
    "publishStream",
    "playStream",
    "unPublishStream",
    "stopStream",
    "availableStream",
    "sendData",
    "ping",
    "pong",
]
_DATA = st.dictionaries(st.sampled_from(_MEMBERS), _JSON | st.just(OFFER) | st.just("m1")) | _JSON
_MESSAGES = st.fixed_dictionaries(
    {"message": st.sampled_from(_NAMES) | st.text(max_size=8), "data": st.lists(_DATA, max_size=2) | _JSON}
)


@given(messages=st.lists(_MESSAGES, max_size=12), raw=st.text(max_size=40))
def test_any_messages_in_any_order_are_survived(messages: list[Any], raw: str) -> None:
    asyncio.run(_say_all(messages, raw))


async def _say_all(messages: list[Any], raw: str) -> None:
    page = Page(Recorder(MemoryJournal(), SystemClock()), Registry())
    for message in messages:
        page.session.receive(json.dumps(message))
    page.session.receive(raw)
    await settle()
    for peer in page.peers.peers:
        peer.connect()
    await page.session.close()
    assert all(peer.state.is_over for peer in page.peers.peers)
