"""What Firefox offers, and what we answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from aircheck.media.track import Codec, Kind
from aircheck.webrtc.answers import Transport
from aircheck.webrtc.errors import NoCommonCodecs
from aircheck.webrtc.negotiate import (
    MID,
    TRANSPORT_CC,
    Preferences,
    Wanted,
    answer_publisher,
    answer_viewer,
)
from aircheck.wire import sdp
from aircheck.wire.rtp.send_times import ABS_SEND_TIME_URI, TRANSMISSION_OFFSET_URI

VECTORS = Path(__file__).parents[1] / "vectors" / "webrtc"
WAY = Transport("ours", "password", "sha-256 AA", ("1 1 udp 2130706431 192.0.2.1 8189 typ host",))
SOUND = Wanted((Codec.OPUS,))


def offer(name: str) -> sdp.Description:
    return sdp.parse((VECTORS / f"firefox_{name}.sdp").read_text())


@pytest.mark.parametrize("name", ["publish", "both_ways"])
def test_sound_and_pictures_are_taken(name: str) -> None:
    agreement = answer_publisher(offer(name), Preferences(), WAY, is_all_or_nothing=True)
    sound, pictures = agreement.lines
    assert (sound.formats[0].codec, sound.formats[0].payload_type) == (Codec.OPUS, 109)
    assert sound.extensions == {MID: 3, TRANSPORT_CC: 7}
    assert (pictures.formats[0].codec, pictures.formats[0].payload_type) == (Codec.VP8, 120)
    assert pictures.formats[0].rtx_payload_type == 124
    assert pictures.formats[0].feedback == {"nack", "nack pli", "ccm fir", "transport-cc"}
    assert pictures.extensions == {MID: 3, TRANSPORT_CC: 7, ABS_SEND_TIME_URI: 4, TRANSMISSION_OFFSET_URI: 5}
    assert len(pictures.ssrcs) == 1, "that of retransmissions is none of its own"
    answer = sdp.parse(agreement.answer)
    assert [media.direction for media in answer.media][:2] == ["recvonly", "recvonly"]
    assert [media.port for media in answer.media] == [9, 9, 0][: len(answer.media)]
    assert answer.bundled() == ("0", "1")


@pytest.mark.parametrize(("codec", "numbers"), [(Codec.VP9, ("121", "125")), (Codec.AV1, ("99", "100"))])
def test_settings_choose_among_its_codecs(codec: Codec, numbers: tuple[str, ...]) -> None:
    agreement = answer_publisher(offer("publish"), Preferences((codec, Codec.OPUS)), WAY)
    assert sdp.parse(agreement.answer).media[1].formats == numbers


def test_of_its_layers_one_is_taken() -> None:
    agreement = answer_publisher(offer("simulcast"), Preferences(), WAY, is_all_or_nothing=True)
    assert [line.formats[0].codec for line in agreement.lines] == [Codec.VP8]
    assert "simulcast" not in agreement.answer
    assert "a=rid" not in agreement.answer


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.VP9, Codec.AV1])
def test_it_is_sent_what_it_can_show(codec: Codec) -> None:
    wanted = {Kind.VIDEO: Wanted((codec,)), Kind.AUDIO: SOUND}
    agreement = answer_viewer(offer("watch"), wanted, WAY)
    assert [line.formats[0].codec for line in agreement.lines] == [Codec.OPUS, codec]
    assert agreement.left_out == ()
    assert sdp.parse(agreement.answer).media[1].direction == "sendonly"


def test_without_h264_it_hears_a_stream_of_h264() -> None:
    wanted = {Kind.VIDEO: Wanted((Codec.H264,), h264_profile=0x64), Kind.AUDIO: SOUND}
    agreement = answer_viewer(offer("watch"), wanted, WAY)
    assert [line.formats[0].codec for line in agreement.lines] == [Codec.OPUS]
    assert agreement.left_out == (Kind.VIDEO,)
    assert [media.port for media in sdp.parse(agreement.answer).media] == [9, 0]


def test_without_h264_it_is_told_what_pictures_alone_are_of() -> None:
    wanted = {Kind.VIDEO: Wanted((Codec.H264,), h264_profile=0x64)}
    with pytest.raises(NoCommonCodecs, match=r"av1, .*vp8.* offered") as caught:
        answer_viewer(offer("watch"), wanted, WAY)
    assert "h264" in caught.value.remedy
