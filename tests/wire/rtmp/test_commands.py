from __future__ import annotations

import pytest

from aircheck.wire import amf
from aircheck.wire.errors import RemoteProtocolError
from aircheck.wire.rtmp.commands import (
    enhanced_answer,
    join_stream_name,
    parse_command,
    parse_connect,
    parse_target,
)
from aircheck.wire.rtmp.messages import Message

TARGETS = {
    "plain": ("rtmp://host/live", "live", "cam", "live", "cam", {}),
    "path in the key (OBS)": ("rtmp://host/live", "live", "room/cam", "live", "room/cam", {}),
    "path in the URL (FFmpeg)": ("rtmp://host/live/room", "live/room", "cam", "live", "room/cam", {}),
    "all in the URL": ("rtmp://host/live/cam", "live/cam", "", "live", "cam", {}),
    "all in the key": ("rtmp://host", "", "live/cam", "live", "cam", {}),
    "name alone": ("rtmp://host:1935/", "", "cam", "", "cam", {}),
    "application alone": ("rtmp://host/live", "live", "", "live", "", {}),
    "query in the key": ("rtmp://host/live", "live", "cam?token=a%20b", "live", "cam", {"token": "a b"}),
    "query in the URL": ("rtmp://host/live?token=a", "live?token=a", "cam", "live", "cam", {"token": "a"}),
    "query in both": ("rtmp://h/live?a=1&b=1", "live", "cam?b=2", "live", "cam", {"a": "1", "b": "2"}),
    "quoted": ('"rtmp://host/live"', "live", "cam", "live", "cam", {}),
    "instance": ("rtmp://host/live/_definst_", "live/_definst_", "cam", "live", "cam", {}),
    "prefix": ("rtmp://host/vod", "vod", "mp4:dir/film.mp4", "vod", "mp4:dir/film.mp4", {}),
    "URL without a scheme": ("host/live", "live", "cam", "live", "cam", {}),
    "stray slashes": ("rtmp://host//live/", "live/", "/cam/", "live", "cam", {}),
    "empty value": ("rtmp://host/live", "live", "cam?user=&pass", "live", "cam", {"user": "", "pass": ""}),
}


@pytest.mark.parametrize("case", TARGETS)
def test_a_stream_is_named_by_url_and_key_together(case: str) -> None:
    tc_url, app, key, *expected = TARGETS[case]
    assert list(parse_target(tc_url, app, key)) == expected


def test_the_same_stream_has_one_name_however_the_client_splits_it() -> None:
    splits = [("rtmp://h/a/b", "a/b", "c"), ("rtmp://h/a", "a", "b/c"), ("rtmp://h", "", "a/b/c")]
    assert {join_stream_name(*split) for split in splits} == {"a/b/c"}


def test_keys_of_connect_may_be_in_any_case_and_values_quoted() -> None:
    said = parse_connect(
        {"App": "live?user=u", "tcurl": "'rtmp://host/live'", "FLASHVER": "FMLE/3.0", "objectEncoding": 3.0}
    )
    assert (said.app, said.tc_url, said.flash_version) == ("live", "rtmp://host/live", "FMLE/3.0")
    assert said.object_encoding == 3
    assert said.query == {"user": "u"}


def test_members_of_the_wrong_kind_count_as_missing() -> None:
    said = parse_connect(
        {"app": 5.0, "tcUrl": None, "fourCcList": "hvc1", "capsEx": "x", "objectEncoding": float("nan")}
    )
    assert said == parse_connect({})


def test_capabilities_are_answered_only_if_asked() -> None:
    assert enhanced_answer({"app": "live"}) == {}
    asked: dict[str, amf.AmfValue] = {
        "fourCcList": ["hvc1", "vvc1", "Opus"],
        "videoFourCcInfoMap": {"hvc1": 7.0},
    }
    answer = enhanced_answer(asked)
    assert answer["fourCcList"] == ["hvc1", "Opus"]
    assert set(answer) == {"fourCcList", "videoFourCcInfoMap"}
    everything = enhanced_answer({"fourCcList": ["*"], "capsEx": 15.0})
    assert len(everything["fourCcList"]) == 10  # type: ignore[arg-type]
    assert everything["capsEx"] == 7.0


@pytest.mark.parametrize(
    "values", [("connect", 1.0, {"app": "live"}), ("connect", 1.0, amf.EcmaArray(app="live")), ("connect",)]
)
def test_a_command_object_may_be_an_object_an_array_or_missing(values: tuple[amf.AmfValue, ...]) -> None:
    command = parse_command(Message(20, 0, 0, amf.serialize(*values), 0))
    assert command.name == "connect"
    assert command.command_object == (values[2] if len(values) > 2 else {})


@pytest.mark.parametrize("prefix", [b"", b"\0"])
def test_an_amf3_command_is_amf0_behind_a_zero(prefix: bytes) -> None:
    payload = prefix + amf.serialize("play", 4.0, None) + b"\x11\x06\x07cam"
    command = parse_command(Message(17, 0, 1, payload, 0))
    assert (command.name, command.transaction_id, command.text(0)) == ("play", 4.0, "cam")


@pytest.mark.parametrize("payload", [b"", b"\x05", b"\x02\x00\x10cut", b"\0" * 9])
def test_a_command_that_is_none_is_the_peers_fault(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_command(Message(20, 0, 0, payload, 77), session="s")
    assert (caught.value.offset, caught.value.session) == (77, "s")
