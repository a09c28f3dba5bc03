"""WHIP and WHEP as their clients see them. Sections are those of RFC 9725."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from fastapi import FastAPI
from helpers.fake_peers import CANDIDATES, OFFER, RESTART, FakePeers
from starlette.types import Message

from aircheck.clock import SystemClock
from aircheck.faces.api.problems import report_unexpected
from aircheck.faces.whip import exchange
from aircheck.faces.whip.ice_servers import IceServer
from aircheck.faces.whip.routes import WhipOptions, add_whip
from aircheck.facts import EndReason
from aircheck.service.connections import ConnectionService
from aircheck.webrtc import errors
from aircheck.webrtc.states import PeerState

SDP = {"content-type": "application/sdp"}
FRAGMENT = {"content-type": "application/trickle-ice-sdpfrag"}
ICE_SERVERS = (
    IceServer("stun:stun.example.net"),
    IceServer("turn:turn.example.net?transport=udp", "user", 'my "Password"'),
)


@pytest.fixture
def peers() -> FakePeers:
    return FakePeers()


@pytest.fixture
def ended() -> list[str]:
    """The ids of sessions that have ended."""
    return []


@pytest.fixture
def connections() -> ConnectionService:
    return ConnectionService()


@pytest.fixture
def app(peers: FakePeers, connections: ConnectionService, ended: list[str]) -> FastAPI:
    app = FastAPI()
    report = partial(report_unexpected, errors=Counter())
    add_whip(app, peers, connections, SystemClock(), WhipOptions(ICE_SERVERS, ended.append), report)
    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://recorder") as client:
        yield client


async def begin(client: httpx.AsyncClient, path: str = "/whip/studio") -> tuple[str, str]:
    """A session; its URL and the tag of its first ICE session."""
    answer = await client.post(path, content=OFFER, headers=SDP)
    assert answer.status_code == 201
    return answer.headers["location"], answer.headers["etag"]


# 4.1 HTTP usage


async def test_get_of_an_endpoint_and_of_a_session_succeeds_without_content(
    client: httpx.AsyncClient,
) -> None:
    session, _ = await begin(client)
    for path in ("/whip/studio", session, "/whep/studio"):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, path)
            assert answer.status_code in (200, 204)
            assert answer.content == b""


async def test_errors_are_problem_details(client: httpx.AsyncClient) -> None:
    answer = await client.post("/whip/studio", content="no sdp", headers=SDP)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code == 400
    assert problem["type"] == "urn:aircheck:problem:bad-sdp"
    assert problem["detail"]
    assert problem["remedy"]


async def test_fault_of_ours_can_be_read_by_pages_of_other_sites(
    client: httpx.AsyncClient, peers: FakePeers
) -> None:
    peers.refusal = KeyError("nobody expected that")
    answer = await client.post("/whip/studio", content=OFFER, headers=SDP)
    assert answer.status_code == answer.json()["status"] == 500
    assert answer.headers["access-control-allow-origin"] == "*"


# 4.2 Session set-up


async def test_offer_is_answered_with_201_answer_location_and_etag(
    client: httpx.AsyncClient, peers: FakePeers
) -> None:
    answer = await client.post("/whip/studio", content=OFFER, headers=SDP)
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/sdp"
    assert answer.text == peers.last.answer
    assert answer.headers["location"].startswith("/whip-session/")
    assert answer.headers["etag"] == peers.last.etag
    assert answer.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
    (asked,) = peers.asked
    assert (asked.what, asked.offer) == ("publish", OFFER)
    assert (asked.attempt.protocol, asked.attempt.app, asked.attempt.name) == ("whip", "live", "studio")


@pytest.mark.parametrize("given", ["application/SDP", "application/sdp; charset=utf-8"])
async def test_media_type_is_compared_as_http_says(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.post("/whip/studio", content=OFFER, headers={"content-type": given})
    assert answer.status_code == 201


@pytest.mark.parametrize("given", ["text/plain", "application/json", ""])
async def test_other_content_types_are_refused(
    client: httpx.AsyncClient, peers: FakePeers, given: str
) -> None:
    answer = await client.post("/whip/studio", content=OFFER, headers={"content-type": given})
    assert answer.status_code == 415
    assert answer.headers["accept-post"] == "application/sdp"
    assert peers.asked == []


@pytest.mark.parametrize("body", ["", "v", "hello", "\0\0\0"])
async def test_malformed_offers_are_refused(client: httpx.AsyncClient, body: str) -> None:
    assert (await client.post("/whip/studio", content=body, headers=SDP)).status_code == 400


async def test_body_that_is_no_text_is_refused(client: httpx.AsyncClient, peers: FakePeers) -> None:
    assert (await client.post("/whip/studio", content=b"v=0\r\n\xff", headers=SDP)).status_code == 400
    assert peers.asked == []


async def test_body_has_a_limit(client: httpx.AsyncClient, peers: FakePeers) -> None:
    body = OFFER + "a=x\r\n" * 40_000
    assert (await client.post("/whip/studio", content=body, headers=SDP)).status_code == 413
    assert peers.asked == []


async def test_body_that_does_not_come_is_not_waited_for(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"v=0\r\n"
        await asyncio.sleep(30)

    monkeypatch.setattr(exchange, "BODY_TIMEOUT_S", 0.05)
    assert (await client.post("/whip/studio", content=slowly(), headers=SDP)).status_code == 408


@pytest.mark.parametrize(
    ("path", "name"),
    [("/whip/a/b", "a/b"), ("/whip/a%2Fb", "a/b"), ("/whip/%D1%81%D1%82 1", "ст 1"), ("/whip/a%3Fb", "a?b")],
)
async def test_names_are_what_the_path_says(
    client: httpx.AsyncClient, peers: FakePeers, path: str, name: str
) -> None:
    await begin(client, path)
    assert peers.asked[0].attempt.name == name


@pytest.mark.parametrize("path", ["/whip/", "/whip/a%00b", "/whip/a%09b", "/whip/" + "x" * 600])
async def test_names_that_no_stream_can_have_are_refused(
    client: httpx.AsyncClient, peers: FakePeers, path: str
) -> None:
    assert (await client.post(path, content=OFFER, headers=SDP)).status_code == 400
    assert peers.asked == []


async def test_delete_ends_the_session_and_its_url_is_gone(
    client: httpx.AsyncClient, peers: FakePeers
) -> None:
    session, _ = await begin(client)
    assert (await client.delete(session)).status_code == 200
    assert peers.last.end_reason is EndReason.UNPUBLISHED
    for method in ("DELETE", "GET", "PATCH"):
        answer = await client.request(method, session, content=CANDIDATES, headers=FRAGMENT)
        assert answer.status_code == 404


async def test_session_that_ended_by_itself_has_no_url_any_more(
    client: httpx.AsyncClient, peers: FakePeers
) -> None:
    session, _ = await begin(client)
    peers.last.end(PeerState.FAILED, EndReason.TIMED_OUT, "Failed by ICE timeout")
    assert (await client.delete(session)).status_code == 404


async def test_who_asked_to_know_is_told_of_each_end_once(
    client: httpx.AsyncClient, peers: FakePeers, ended: list[str]
) -> None:
    session, _ = await begin(client)
    await client.delete(session)
    await begin(client)
    peers.last.end(PeerState.FAILED, EndReason.TIMED_OUT, "Failed by ICE timeout")
    peers.refusal = errors.NotAllowed("no")
    await client.post("/whip/studio", content=OFFER, headers=SDP)
    assert ended == [asked.attempt.session_id for asked in peers.asked]
    assert len(set(ended)) == 3


async def test_client_that_gave_up_before_it_was_answered_leaves_its_name_free(
    app: FastAPI, peers: FakePeers, ended: list[str]
) -> None:
    messages = iter(({"type": "http.request", "body": OFFER.encode()}, {"type": "http.disconnect"}))

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        """Nobody listens."""

    headers = [(name.encode(), value.encode()) for name, value in SDP.items()]
    path = "/whip/studio"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "headers": headers}
    await app({**scope, "query_string": b"", "http_version": "1.1", "scheme": "http"}, receive, send)
    assert peers.last.is_closed
    assert ended == [peers.asked[0].attempt.session_id]


async def test_peers_are_connections_that_can_be_ended(
    client: httpx.AsyncClient, peers: FakePeers, connections: ConnectionService, ended: list[str]
) -> None:
    for path in ("/whip/studio", "/whep/studio"):
        await begin(client, path)
    assert connections.list() == []
    for peer in peers.peers:
        peer.connect()
    publisher, viewer = connections.list()
    assert (publisher.protocol, publisher.app, viewer.protocol) == ("whip", "live", "whep")
    assert publisher.client.startswith("python-httpx")
    assert publisher.session_id == peers.asked[0].attempt.session_id
    connections.close(publisher.session_id)
    assert (peers.peers[0].end_reason, ended) == (EndReason.STOPPED, [publisher.session_id])
    assert connections.list() == [viewer]


async def test_urls_of_sessions_cannot_be_guessed(client: httpx.AsyncClient) -> None:
    keys = {(await begin(client))[0].rpartition("/")[2] for _ in range(20)}
    assert len(keys) == 20
    assert all(len(key) >= 22 for key in keys)


async def test_options_says_what_may_be_posted(client: httpx.AsyncClient) -> None:
    answer = await client.options("/whip/studio")
    assert answer.status_code == 200
    assert answer.headers["accept-post"] == "application/sdp"


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_preflight_lets_pages_of_other_sites_in(client: httpx.AsyncClient, method: str) -> None:
    path = "/whip/studio" if method == "POST" else (await begin(client))[0]
    asked = {
        "origin": "https://elsewhere.example",
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,if-match",
    }
    answer = await client.options(path, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "content-type", "if-match"} <= set(allowed)


async def test_pages_of_other_sites_can_read_what_they_need(client: httpx.AsyncClient) -> None:
    created = await client.post("/whip/studio", content=OFFER, headers=SDP)
    refused = await client.post("/whip/studio", content="", headers=SDP)
    for answer in (created, refused):
        assert answer.headers["access-control-allow-origin"] == "*"
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"location", "etag", "link", "accept-patch", "retry-after"} <= set(exposed)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_methods_that_an_endpoint_has_not_are_named(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/whip/studio")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "OPTIONS, GET, HEAD, POST"


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_methods_that_a_session_has_not_are_named(client: httpx.AsyncClient, method: str) -> None:
    session, _ = await begin(client)
    answer = await client.request(method, session)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "OPTIONS, GET, HEAD, PATCH, DELETE"


# 4.3 ICE


async def test_trickled_candidates_are_taken_with_204_and_no_etag(
    client: httpx.AsyncClient, peers: FakePeers
) -> None:
    session, etag = await begin(client)
    answer = await client.patch(session, content=CANDIDATES, headers={**FRAGMENT, "if-match": etag})
    assert answer.status_code == 204
    assert answer.content == b""
    assert "etag" not in answer.headers
    assert peers.last.fragments == [CANDIDATES]


async def test_patch_without_an_entity_tag_is_428(client: httpx.AsyncClient, peers: FakePeers) -> None:
    session, _ = await begin(client)
    assert (await client.patch(session, content=CANDIDATES, headers=FRAGMENT)).status_code == 428
    assert peers.last.fragments == []


@pytest.mark.parametrize("tag", ['"old"', 'W/"ice-1"', "ice-1", '"ice-1', ""])
async def test_patch_with_another_entity_tag_is_412(
    client: httpx.AsyncClient, peers: FakePeers, tag: str
) -> None:
    session, _ = await begin(client)
    answer = await client.patch(session, content=CANDIDATES, headers={**FRAGMENT, "if-match": tag})
    assert answer.status_code == 412
    assert peers.last.fragments == []


async def test_one_of_several_entity_tags_is_enough(client: httpx.AsyncClient) -> None:
    session, etag = await begin(client)
    headers = {**FRAGMENT, "if-match": f'"old", {etag}'}
    assert (await client.patch(session, content=CANDIDATES, headers=headers)).status_code == 204


async def test_entity_tag_of_delete_is_of_no_interest(client: httpx.AsyncClient) -> None:
    session, _ = await begin(client)
    assert (await client.delete(session, headers={"if-match": '"old"'})).status_code == 200


async def test_patch_of_another_type_is_refused(client: httpx.AsyncClient) -> None:
    session, etag = await begin(client)
    answer = await client.patch(session, content=CANDIDATES, headers={**SDP, "if-match": etag})
    assert answer.status_code == 415
    assert answer.headers["accept-patch"] == "application/trickle-ice-sdpfrag"


async def test_malformed_fragment_is_refused_and_the_session_goes_on(client: httpx.AsyncClient) -> None:
    session, etag = await begin(client)
    headers = {**FRAGMENT, "if-match": etag}
    assert (await client.patch(session, content="candidate", headers=headers)).status_code == 400
    assert (await client.patch(session, content=CANDIDATES, headers=headers)).status_code == 204


@pytest.mark.parametrize("condition", ["*", '"*"', '"ice-1"'])
async def test_new_credentials_restart_ice_with_a_new_etag(
    client: httpx.AsyncClient, peers: FakePeers, condition: str
) -> None:
    session, etag = await begin(client)
    answer = await client.patch(session, content=RESTART, headers={**FRAGMENT, "if-match": condition})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/trickle-ice-sdpfrag"
    assert "a=ice-ufrag:" in answer.text
    assert "a=ice-pwd:" in answer.text
    assert answer.headers["etag"] not in ("", etag)
    assert peers.last.fragments == [RESTART]


async def test_tag_of_the_ice_session_before_a_restart_is_outdated(client: httpx.AsyncClient) -> None:
    session, first = await begin(client)
    answer = await client.patch(session, content=RESTART, headers={**FRAGMENT, "if-match": "*"})
    trickled = RESTART + "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n"
    for tag, status in ((first, 412), (answer.headers["etag"], 204)):
        answer = await client.patch(session, content=trickled, headers={**FRAGMENT, "if-match": tag})
        assert answer.status_code == status


async def test_restart_that_fails_leaves_the_session_as_it_was(
    client: httpx.AsyncClient, peers: FakePeers
) -> None:
    session, etag = await begin(client)
    peers.last.restarts_fail = True
    answer = await client.patch(session, content=RESTART, headers={**FRAGMENT, "if-match": "*"})
    assert answer.status_code == 400
    answer = await client.patch(session, content=CANDIDATES, headers={**FRAGMENT, "if-match": etag})
    assert answer.status_code == 204


# 4.4 Constraints of WebRTC


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (errors.NoCommonCodecs("no", remedy="offer others"), "no-common-codecs"),
        (errors.TooManyTracks("no", remedy="offer fewer"), "too-many-tracks"),
    ],
)
async def test_offer_that_cannot_be_met_whole_is_422(
    refusal: errors.PeerRefused, kind: str, client: httpx.AsyncClient, peers: FakePeers
) -> None:
    peers.refusal = refusal
    answer = await client.post("/whip/studio", content=OFFER, headers=SDP)
    assert answer.status_code == 422
    assert answer.json()["remedy"] == refusal.remedy
    assert answer.json()["type"].endswith(kind)
    assert peers.asked[0].is_all_or_nothing


async def test_name_that_is_taken_is_409(client: httpx.AsyncClient, peers: FakePeers) -> None:
    peers.refusal = errors.NameInUse("studio has a publisher")
    assert (await client.post("/whip/studio", content=OFFER, headers=SDP)).status_code == 409


# 4.5 Load


async def test_full_server_says_when_to_come_again(client: httpx.AsyncClient, peers: FakePeers) -> None:
    peers.refusal = errors.TooManyPeers("full")
    answer = await client.post("/whip/studio", content=OFFER, headers=SDP)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


# 4.6 STUN and TURN


async def test_ice_servers_are_links_of_the_answer(client: httpx.AsyncClient) -> None:
    answer = await client.post("/whip/studio", content=OFFER, headers=SDP)
    assert answer.headers["link"] == (
        '<stun:stun.example.net>; rel="ice-server", '
        '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="user"; '
        'credential="my \\"Password\\""; credential-type="password"'
    )


async def test_ice_servers_are_told_by_options_but_not_to_preflights(client: httpx.AsyncClient) -> None:
    assert "link" in (await client.options("/whip/studio")).headers
    preflight = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    assert "link" not in (await client.options("/whip/studio", headers=preflight)).headers


# 4.7 Authentication


async def test_bearer_token_reaches_the_gatekeeper(client: httpx.AsyncClient, peers: FakePeers) -> None:
    headers = {**SDP, "authorization": "Bearer s3cret"}
    await client.post("/whip/studio?token=other&user=anna", content=OFFER, headers=headers)
    assert peers.asked[0].attempt.query == {"token": "s3cret", "user": "anna"}


async def test_token_in_the_url_reaches_the_gatekeeper(client: httpx.AsyncClient, peers: FakePeers) -> None:
    await client.post("/whip/studio?token=s3cret", content=OFFER, headers=SDP)
    assert peers.asked[0].attempt.query == {"token": "s3cret"}


async def test_login_reaches_the_gatekeeper(client: httpx.AsyncClient, peers: FakePeers) -> None:
    login = base64.b64encode(b"anna:pass:word").decode()
    await client.post("/whip/studio", content=OFFER, headers={**SDP, "authorization": f"Basic {login}"})
    assert peers.asked[0].attempt.query == {"user": "anna", "pass": "pass:word"}


@pytest.mark.parametrize("given", ["Basic !!!", "Basic /w==", "Bearer", "Digest x"])
async def test_credentials_that_make_no_sense_prove_nothing(
    client: httpx.AsyncClient, peers: FakePeers, given: str
) -> None:
    await client.post("/whip/studio", content=OFFER, headers={**SDP, "authorization": given})
    assert not any(peers.asked[0].attempt.query.values())


async def test_who_may_not_is_asked_for_a_token(client: httpx.AsyncClient, peers: FakePeers) -> None:
    peers.refusal = errors.NotAllowed("publishing needs a token")
    answer = await client.post("/whip/studio", content=OFFER, headers=SDP)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="aircheck"'
    with_token = {**SDP, "authorization": "Bearer wrong"}
    answer = await client.post("/whip/studio", content=OFFER, headers=with_token)
    assert answer.headers["www-authenticate"].endswith('error="invalid_token"')


# WHEP


async def test_players_can_ask_whether_an_url_is_whep(client: httpx.AsyncClient) -> None:
    answer = await client.head("/whep/studio")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/sdp"


async def test_offer_to_watch_is_answered_like_one_to_publish(
    client: httpx.AsyncClient, peers: FakePeers
) -> None:
    session, etag = await begin(client, "/whep/studio")
    assert session.startswith("/whep-session/")
    assert (peers.asked[0].what, peers.asked[0].attempt.protocol) == ("play", "whep")
    headers = {**FRAGMENT, "if-match": etag}
    assert (await client.patch(session, content=CANDIDATES, headers=headers)).status_code == 204
    assert (await client.delete(session)).status_code == 200
    assert peers.last.state.is_over


async def test_stream_that_is_not_live_is_409_with_retry_after(
    client: httpx.AsyncClient, peers: FakePeers
) -> None:
    peers.refusal = errors.StreamNotFound("no stream 'studio'")
    answer = await client.post("/whep/studio", content=OFFER, headers=SDP)
    assert answer.status_code == 409
    assert int(answer.headers["retry-after"]) > 0


async def test_sessions_of_whip_and_whep_are_apart(client: httpx.AsyncClient) -> None:
    session, _ = await begin(client)
    assert (await client.delete(session.replace("whip", "whep"))).status_code == 404
