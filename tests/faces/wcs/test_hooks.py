"""REST hooks of WCS with real RTMP peers and a real backend: allow, refuse, time out, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import get_args

import pytest
from helpers.hooks_rig import HANDSHAKE_S, running
from helpers.http_backend import ASKED, HttpBackend
from helpers.packets import av_batches
from helpers.rtmp_peer import Peer

from aircheck.faces.wcs.hooks import METHODS, MethodPolicy, parse_policies
from aircheck.hub.gatekeeper import Attempt
from aircheck.service.access import AccessService
from aircheck.settings.access import HookMethod
from aircheck.wire.rtmp import events as ev

MEDIA = list(av_batches(500))


@pytest.fixture
async def there() -> AsyncIterator[HttpBackend]:
    async with HttpBackend.serving() as backend:
        yield backend


async def test_a_backend_that_says_yes_hears_the_whole_story_in_order(there: HttpBackend) -> None:
    async with running(there, record_name=lambda _: "cam.mp4") as rig:
        async with Peer(rig.address) as peer:
            number = await peer.publish("cam?token=T0KEN&room=7")
            await peer.send(number, MEDIA)
            await there.heard(4)
            await peer.unpublish(number)
        await there.heard(7)
    assert there.asked == ["connect", "publishStream"]
    assert there.told == [
        "ConnectionStatusEvent ESTABLISHED",
        "StreamStatusEvent PUBLISHING",
        "unPublishStream",
        "StreamStatusEvent UNPUBLISHED",
        "ConnectionStatusEvent DISCONNECTED",
    ]
    asked, told = there.question("publishStream").body, there.question("StreamStatusEvent").body
    assert asked["custom"] == {"token": "T0KEN", "room": "7"}
    assert (asked["name"], asked["published"], asked["status"]) == ("cam", True, "PENDING")
    assert asked["mediaSessionId"] == told["mediaSessionId"]
    assert {body["sessionId"] for body in (question.body for question in there.questions)} == {
        asked["sessionId"]
    }
    assert {question.body["nodeId"] for question in there.questions} == {"node-1"}
    assert {key: told[key] for key in ("appKey", "mediaProvider", "audioCodec", "videoCodec")} == {
        "appKey": "flashStreamingApp",
        "mediaProvider": "Flash",
        "audioCodec": "mpeg4-generic",
        "videoCodec": "H264",
    }
    assert (told["record"], told["recordName"]) == (True, "cam.mp4")


@pytest.mark.parametrize("method", ["connect", "publishStream"])
async def test_a_backend_that_refuses_keeps_the_publisher_out(there: HttpBackend, method: str) -> None:
    there.statuses[method] = 403
    async with running(there) as rig, Peer(rig.address) as peer:
        assert await peer.refused("cam") == "NetStream.Publish.Unauthorized"
        assert len(rig.registry) == 0
        assert rig.backend.counters.refused == 1
    failed = "ConnectionStatusEvent FAILED" if method == "connect" else "StreamStatusEvent FAILED"
    assert failed in there.methods
    assert ("publishStream" in there.methods) == (method == "publishStream")


async def test_a_peer_that_was_refused_may_try_again_on_the_same_connection(there: HttpBackend) -> None:
    there.statuses["connect"] = 500
    async with running(there) as rig, Peer(rig.address) as peer:
        assert await peer.refused("cam") == "NetStream.Publish.Unauthorized"
        there.statuses.clear()
        peer.connection.publish("cam")
        await peer.flush()
        await peer.get(ev.Published)
    assert there.asked == ["connect", "connect", "publishStream"]
    assert there.told[:2] == ["ConnectionStatusEvent FAILED", "ConnectionStatusEvent ESTABLISHED"]


@pytest.mark.parametrize("refuses_on_error", [True, False])
async def test_what_happens_without_an_answer_is_a_setting(
    there: HttpBackend, refuses_on_error: bool
) -> None:
    there.hangs.add("publishStream")
    async with running(there, timeout_s=1, refuses_on_error=refuses_on_error) as rig:
        async with Peer(rig.address) as peer:
            if refuses_on_error:
                assert await peer.refused("cam") == "NetStream.Publish.Unauthorized"
            else:
                await peer.publish("cam")
        assert rig.backend.counters.failed >= 1


async def test_a_refusal_holds_where_errors_are_allowed(there: HttpBackend) -> None:
    there.statuses["publishStream"] = 403
    async with running(there, refuses_on_error=False) as rig, Peer(rig.address) as peer:
        assert await peer.refused("cam") == "NetStream.Publish.Unauthorized"


async def test_a_publisher_that_waits_for_the_backend_keeps_nobody_waiting(there: HttpBackend) -> None:
    there.hangs.add("publishStream")
    async with running(there, timeout_s=30) as rig, Peer(rig.address) as held, Peer(rig.address) as other:
        await held.connect()
        await held.get(ev.Connected)
        held.connection.publish("held")
        await held.flush()
        await there.heard(3)
        there.hangs.clear()
        await other.publish("other")
        rig.pass_by(2 * HANDSHAKE_S)  # it is not its fault
        assert len(rig.rtmp.sessions) == 2
        assert [stream.name for stream in rig.registry] == ["other"]


async def test_viewers_are_asked_about_and_their_end_is_told(there: HttpBackend) -> None:
    async with running(there) as rig, Peer(rig.address) as publisher:
        number = await publisher.publish("cam")
        await publisher.send(number, MEDIA)
        await there.heard(4)
        async with Peer(rig.address) as viewer:
            await viewer.play("cam")
        await there.heard(11)
        viewer_id = there.question("playStream").body["sessionId"]
        own = [
            name
            for name, one in zip(there.methods, there.questions, strict=True)
            if one.body["sessionId"] == viewer_id
        ]
    assert [method for method in own if method in ASKED] == ["connect", "playStream"]
    assert [method for method in own if method not in ASKED] == [
        "ConnectionStatusEvent ESTABLISHED",
        "StreamStatusEvent PLAYING",
        "stopStream",
        "StreamStatusEvent STOPPED",
        "ConnectionStatusEvent DISCONNECTED",
    ]


@pytest.mark.parametrize("who", ["viewer", "publisher"])
async def test_the_end_of_watching_is_told_before_the_peer_goes(there: HttpBackend, who: str) -> None:
    async with running(there) as rig, Peer(rig.address) as publisher, Peer(rig.address) as viewer:
        published = await publisher.publish("cam")
        watched = await viewer.play("cam")
        if who == "viewer":
            await viewer.unpublish(watched)
        else:
            await publisher.unpublish(published)
            await viewer.get(ev.StreamClosed)
            publisher.connection.publish("cam")
            await publisher.flush()
            await publisher.get(ev.Published)
        viewer.connection.play("cam")
        await viewer.flush()
        await viewer.get(ev.Playing)
        viewer_id = there.question("playStream").body["sessionId"]
    own = [
        name
        for name, one in zip(there.methods, there.questions, strict=True)
        if one.body["sessionId"] == viewer_id and name not in ASKED
    ]
    watching = ["StreamStatusEvent PLAYING", "stopStream", "StreamStatusEvent STOPPED"]
    assert own == [
        "ConnectionStatusEvent ESTABLISHED",
        *watching,
        *watching,
        "ConnectionStatusEvent DISCONNECTED",
    ]


async def test_nobody_is_said_to_watch_what_is_not_there(there: HttpBackend) -> None:
    async with running(there) as rig, Peer(rig.address) as viewer:
        await viewer.connect()
        await viewer.get(ev.Connected)
        viewer.connection.play("nothing")
        await viewer.flush()
        assert (await viewer.get(ev.StreamRejected)).code == "NetStream.Play.StreamNotFound"
    assert there.asked == ["connect", "playStream"]
    assert there.told == ["ConnectionStatusEvent ESTABLISHED", "ConnectionStatusEvent DISCONNECTED"]


@pytest.mark.parametrize("status", [200, 403])
async def test_a_page_is_asked_about_when_it_connects(there: HttpBackend, status: int) -> None:
    there.statuses["connect"] = status
    page = Attempt("websdk", "/192.0.2.7:50159/192.0.2.1:8080", "192.0.2.7:50159", "defaultApp", "")
    async with running(there) as rig:
        admission = await rig.hooks.may_connect(page)
        if admission.is_allowed:
            await rig.hooks.may_publish(replace(page, name="cam"))
        rig.hooks.session_ended(page.session_id)
    assert admission.is_allowed == (status == 200)
    assert there.question("connect").body["appKey"] == "defaultApp"
    if status == 200:
        assert there.asked == ["connect", "publishStream"]
        assert there.told == ["ConnectionStatusEvent ESTABLISHED", "ConnectionStatusEvent DISCONNECTED"]
    else:
        assert there.methods == ["connect", "ConnectionStatusEvent FAILED"]


async def test_who_fails_our_own_rules_is_not_asked_about(there: HttpBackend) -> None:
    async with running(there, AccessService(tokens=["T"])) as rig, Peer(rig.address) as peer:
        await peer.refused("cam")
    assert there.methods == []


async def test_a_backend_configures_itself_in_its_answer_to_connect(there: HttpBackend) -> None:
    there.answers["connect"] = b"""{"restClientConfig": {
        "publishStream": {"restOnError": "LOG", "restExclude": "custom, createDate"},
        "StreamStatusEvent": {"restPolicy": "DISABLE"}}}"""
    there.statuses["publishStream"] = 403
    async with running(there) as rig, Peer(rig.address) as peer:
        number = await peer.publish("cam")
        await peer.unpublish(number)
        await there.heard(4)
    assert there.asked == ["connect", "publishStream"]
    assert there.told[:2] == ["ConnectionStatusEvent ESTABLISHED", "unPublishStream"]
    assert {"custom", "createDate"} & there.question("publishStream").body.keys() == set()


async def test_methods_that_the_backend_has_not_are_not_called(there: HttpBackend) -> None:
    async with running(there, methods=("publishStream",)) as rig, Peer(rig.address) as peer:
        await peer.publish("cam")
    assert there.methods == ["publishStream"]


def test_what_makes_no_sense_in_a_configuration_counts_as_not_said() -> None:
    assert parse_policies(None) == {}
    assert parse_policies({"connect": 5, "playStream": {"restOnError": 1, "restExclude": None}}) == {
        "playStream": MethodPolicy(excluded=frozenset({"None"}))
    }
    assert parse_policies({"a": {"restPolicy": "disabled", "restOnError": "fail"}}) == {
        "a": MethodPolicy(is_disabled=True, fails_on_error=True)
    }


def test_the_settings_know_each_method() -> None:
    assert get_args(HookMethod) == METHODS
