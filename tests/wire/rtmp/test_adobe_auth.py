from __future__ import annotations

from urllib.parse import parse_qsl

from helpers.connection_pair import ConnectionPair

from aircheck.wire.rtmp import events as ev
from aircheck.wire.rtmp.adobe_auth import REJECT_CODE, AdobeAuthenticator, Credentials, next_query, respond

SECRET = b"secret"


def dialogue(credentials: Credentials, *, password: str | None = "pw", delay_s: float = 0.0) -> list[str]:
    """What a server refuses with, connection by connection; the last is empty if it accepts."""
    query, refusals, now_s = "", [], 1000.0
    while True:
        pair = ConnectionPair(
            app=f"live?{query}" if query else "live", credentials=credentials, accepts=False
        ).pump()
        (asked,) = (e for e in pair.server_events if isinstance(e, ev.ConnectRequested))
        refusal = AdobeAuthenticator(SECRET).refusal(asked.query, password, now_s)
        refusals.append(refusal)
        if not refusal:
            return refusals
        pair.server.reject_connect(asked, REJECT_CODE, refusal)
        pair.pump()
        (rejected,) = (e for e in pair.client_events if isinstance(e, ev.ConnectRejected))
        query = rejected.retry_query
        if not query:
            return refusals
        now_s += delay_s


def test_the_right_password_is_accepted_on_the_third_connection() -> None:
    refusals = dialogue(Credentials("u ser+", "pw"))
    assert "code=403 need auth; authmod=adobe" in refusals[0]
    assert "reason=needauth" in refusals[1]
    assert refusals[2:] == [""]


def test_a_wrong_password_or_an_unknown_user_ends_in_authfailed() -> None:
    assert "reason=authfailed" in dialogue(Credentials("user", "wrong"))[-1]
    assert "reason=authfailed" in dialogue(Credentials("user", "pw"), password=None)[-1]


def test_a_challenge_grows_old() -> None:
    assert dialogue(Credentials("user", "pw"), delay_s=59)[-1] == ""
    assert "reason=authfailed" in dialogue(Credentials("user", "pw"), delay_s=61)[-1]


def test_an_answer_to_another_secret_is_worth_nothing() -> None:
    challenge = AdobeAuthenticator(b"other").refusal({"authmod": "adobe", "user": "user"}, "pw", 1000.0)
    query = dict(parse_qsl(next_query(challenge, Credentials("user", "pw"))))
    assert AdobeAuthenticator(SECRET).refusal(query, "pw", 1000.0) != ""
    assert AdobeAuthenticator(b"other").refusal(query, "pw", 1000.0) == ""


def test_the_response_is_what_other_implementations_compute() -> None:
    # MD5 and base64 by hand: base64(md5(base64(md5("user" "salt" "pass")) "opaque" "challenge"))
    assert (
        respond("user", "pass", salt="salt", server_part="opaque", client_challenge="challenge") == EXPECTED
    )


EXPECTED = "ym6RiP4wQql0KIMLktu1mg=="


def test_a_server_without_an_opaque_value_gets_its_challenge_back() -> None:
    description = "[ AccessManager.Reject ] : [ authmod=adobe ] : ?reason=needauth&user=u&salt=s&challenge=c"
    query = dict(parse_qsl(next_query(description, Credentials("u", "p"))))
    assert "opaque" not in query
    assert query["response"] == respond(
        "u", "p", salt="s", server_part="c", client_challenge=query["challenge"]
    )


def test_a_refusal_for_other_reasons_is_not_answered() -> None:
    assert next_query("[ AccessManager.Reject ] : [ code=403 ]", Credentials("u", "p")) == ""
