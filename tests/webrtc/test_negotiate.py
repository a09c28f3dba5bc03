"""Offers of real clients, and what comes of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aircheck.media.track import Codec, Kind
from aircheck.webrtc.answers import Transport, ice_fragment
from aircheck.webrtc.errors import BadOffer, NoCommonCodecs, TooManyTracks
from aircheck.webrtc.media import Direction
from aircheck.webrtc.negotiate import (
    MID,
    TRANSPORT_CC,
    Agreement,
    Preferences,
    Wanted,
    answer_publisher,
    answer_viewer,
)
from aircheck.wire import sdp
from aircheck.wire.rtp.send_times import ABS_SEND_TIME_URI, TRANSMISSION_OFFSET_URI

CANDIDATES = (
    "1 1 udp 2130706431 192.0.2.1 8189 typ host",
    "101 1 tcp 1526726655 192.0.2.1 8189 typ host tcptype passive",
)
WAY = Transport("ours", "password", "sha-256 AA", CANDIDATES)
SECURITY = (
    "a=ice-ufrag:theirs",
    "a=ice-pwd:password",
    "a=fingerprint:sha-256 ab:cd",
    "a=setup:actpass",
    "a=rtcp-mux",
)
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0",
    "a=mid:0",
    "a=sendonly",
    *SECURITY,
    "a=rtpmap:111 opus/48000/2",
    "a=fmtp:111 minptime=10;useinbandfec=1",
    "a=rtcp-fb:111 transport-cc",
    "a=rtpmap:63 red/48000/2",
)
H264 = "level-asymmetry-allowed=1;packetization-mode={};profile-level-id={}"
VIDEO = (
    "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101 102 103 45 46",
    "a=mid:1",
    "a=sendonly",
    *SECURITY,
    "a=extmap:3 " + TRANSPORT_CC,
    "a=extmap:4 " + MID,
    "a=extmap:5 " + ABS_SEND_TIME_URI,
    "a=extmap:14 " + TRANSMISSION_OFFSET_URI,
    "a=extmap:6 urn:3gpp:video-orientation",
    "a=rtpmap:96 VP8/90000",
    "a=rtcp-fb:96 goog-remb",
    "a=rtcp-fb:96 transport-cc",
    "a=rtcp-fb:96 ccm fir",
    "a=rtcp-fb:96 nack",
    "a=rtcp-fb:96 nack pli",
    "a=rtpmap:97 rtx/90000",
    "a=fmtp:97 apt=96",
    "a=rtpmap:98 H264/90000",
    "a=fmtp:98 " + H264.format(0, "42001f"),
    "a=rtpmap:99 rtx/90000",
    "a=fmtp:99 apt=98",
    "a=rtpmap:100 H264/90000",
    "a=fmtp:100 " + H264.format(1, "42e01f"),
    "a=rtpmap:101 rtx/90000",
    "a=fmtp:101 apt=100",
    "a=rtpmap:102 H264/90000",
    "a=fmtp:102 " + H264.format(1, "64001f"),
    "a=rtpmap:103 VP9/90000",
    "a=fmtp:103 profile-id=2",
    "a=rtpmap:45 VP9/90000",
    "a=fmtp:45 profile-id=0",
    "a=rtpmap:46 AV1/90000",
    "a=ssrc-group:FID 5 6",
    "a=ssrc:5 cname:x",
    "a=ssrc:6 cname:x",
)
DATA = ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=mid:2", *SECURITY, "a=sctp-port:5000")
HEAD = ("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0")
BUNDLE = "a=group:BUNDLE 0 1 2"


def parse(*parts: Sequence[str], bundle: str = BUNDLE) -> sdp.Description:
    return sdp.parse("\n".join((*HEAD, bundle, *(line for part in parts for line in part))))


def published(*parts: Sequence[str], codecs: tuple[Codec, ...] = Preferences().codecs) -> Agreement:
    return answer_publisher(parse(*parts), Preferences(codecs), WAY)


def turned(part: Sequence[str]) -> tuple[str, ...]:
    return tuple(line.replace("sendonly", "recvonly") for line in part)


def watched(*parts: Sequence[str], **wanted: Wanted) -> Agreement:
    kinds = {Kind(name): want for name, want in wanted.items()}
    return answer_viewer(parse(*map(turned, parts)), kinds, WAY)


def test_a_browsers_offer_to_publish_is_answered() -> None:
    agreement = published(AUDIO, VIDEO)
    audio, video = agreement.lines
    assert (audio.formats[0].codec, audio.formats[0].payload_type, audio.formats[0].channels) == (
        Codec.OPUS,
        111,
        2,
    )
    assert video.formats[0].codec is Codec.H264
    assert video.formats[0].payload_type == 100
    assert video.formats[0].rtx_payload_type == 101
    assert video.direction is Direction.RECVONLY
    assert video.extensions == {MID: 4, TRANSPORT_CC: 3, ABS_SEND_TIME_URI: 5, TRANSMISSION_OFFSET_URI: 14}
    assert video.ssrcs == (5,)
    assert agreement.fingerprint == ("sha-256", "AB:CD")
    answer = sdp.parse(agreement.answer)
    assert answer.has("ice-lite")
    assert answer.bundled() == ("0", "1")
    for media in answer.media:
        assert media.port == 9
        assert media.direction == "recvonly"
        assert media.has("rtcp-mux")
        assert (media.value("setup"), media.value("ice-ufrag")) == ("passive", "ours")
        assert tuple(media.values("candidate")) == CANDIDATES
        assert media.has("end-of-candidates")
    assert answer.media[0].fmtps()[111]["stereo"] == "1"
    assert answer.media[1].fmtps()[100]["x-google-start-bitrate"] == "1500"
    assert answer.media[1].fmtps()[101] == {"apt": "100"}


@pytest.mark.parametrize(
    ("codecs", "payload_type"),
    [
        ((Codec.VP8, Codec.H264), 96),
        ((Codec.VP9,), 45),
        ((Codec.AV1, Codec.VP8), 46),
        ((Codec.H265, Codec.H264), 100),
    ],
)
def test_the_first_codec_that_is_offered_is_taken(codecs: tuple[Codec, ...], payload_type: int) -> None:
    agreement = published(VIDEO, codecs=codecs)
    assert agreement.lines[0].formats[0].payload_type == payload_type


def test_feedback_is_what_both_sides_can() -> None:
    with_twcc = published(VIDEO, codecs=(Codec.VP8,)).lines[0].formats[0]
    assert with_twcc.feedback == {"nack", "nack pli", "ccm fir", "transport-cc"}
    without = tuple(line for line in VIDEO if TRANSPORT_CC not in line)
    assert published(without, codecs=(Codec.VP8,)).lines[0].formats[0].feedback == {
        "nack",
        "nack pli",
        "ccm fir",
        "goog-remb",
    }


def test_what_is_not_taken_is_declined_in_its_place() -> None:
    second = tuple(line.replace("mid:1", "mid:3") for line in VIDEO)
    answer = sdp.parse(published(DATA, VIDEO, second, AUDIO).answer)
    assert [media.port for media in answer.media] == [0, 9, 0, 9]
    assert [media.mid for media in answer.media] == ["2", "1", "3", "0"]
    assert answer.media[0].protocol == "UDP/DTLS/SCTP"
    assert answer.bundled() == ("1", "0")


def publish_whole(*parts: Sequence[str], codecs: tuple[Codec, ...] = Preferences().codecs) -> Agreement:
    return answer_publisher(parse(*parts), Preferences(codecs), WAY, is_all_or_nothing=True)


def test_who_wants_all_or_nothing_is_refused_what_would_be_half() -> None:
    second = tuple(line.replace("mid:1", "mid:2") for line in VIDEO)
    unknown = tuple(line for line in VIDEO if "rtpmap" not in line)
    with pytest.raises(TooManyTracks, match="more than one video track"):
        publish_whole(VIDEO, second, AUDIO)
    with pytest.raises(NoCommonCodecs, match="no common video codecs"):
        publish_whole(AUDIO, unknown)
    with pytest.raises(NoCommonCodecs, match="no common audio codecs: opus, red"):
        publish_whole(AUDIO, VIDEO, codecs=(Codec.H264, Codec.PCMA))


def test_all_is_what_can_be_meant_for_us() -> None:
    unused = tuple(line.replace("sendonly", "inactive").replace("mid:1", "mid:3") for line in VIDEO)
    assert len(publish_whole(DATA, VIDEO, unused, AUDIO).lines) == 2
    assert len(publish_whole(AUDIO, VIDEO, codecs=(Codec.OPUS,)).lines) == 1, "pictures are not wanted at all"


def test_simulcast_is_answered_by_one_layer() -> None:
    layers = ("a=rid:h send", "a=rid:l send", "a=simulcast:send h;l")
    answer = published((*VIDEO, *layers)).answer
    assert "simulcast" not in answer
    assert "a=rid" not in answer


def test_sound_without_opus_is_taken_as_g711() -> None:
    assert published(AUDIO, codecs=(Codec.PCMU,)).lines[0].formats[0].payload_type == 0


@pytest.mark.parametrize(
    ("parts", "bundle"),
    [
        ((AUDIO, VIDEO), "a=x"),
        (([line for line in AUDIO if line != "a=rtcp-mux"],), BUNDLE),
        (([line for line in AUDIO if "fingerprint" not in line],), BUNDLE),
        (([line.replace("sha-256", "md5") for line in AUDIO],), BUNDLE),
        (([line for line in AUDIO if "ice-ufrag" not in line],), BUNDLE),
        (([line for line in AUDIO if "ice-pwd" not in line],), BUNDLE),
    ],
    ids=["no bundle", "no rtcp-mux", "no fingerprint", "weak fingerprint", "no ufrag", "no password"],
)
def test_offers_that_we_cannot_serve_are_refused(parts: Sequence[Sequence[str]], bundle: str) -> None:
    with pytest.raises(BadOffer) as caught:
        answer_publisher(parse(*parts, bundle=bundle), Preferences(), WAY)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "part",
    [
        DATA,
        turned(VIDEO),
        [line.replace("SAVPF", "AVP") for line in VIDEO],
        [line.replace("m=video 9", "m=video 0") for line in VIDEO],
        [line for line in VIDEO if "rtpmap" not in line],
    ],
    ids=["data", "wrong direction", "in the clear", "declined", "no codecs"],
)
def test_offers_without_media_for_us_have_no_common_codecs(part: Sequence[str]) -> None:
    with pytest.raises(NoCommonCodecs):
        published(part)


def test_credentials_of_the_session_hold_for_all_media() -> None:
    bare = tuple(line for line in AUDIO if line not in SECURITY or line == "a=rtcp-mux")
    offer = sdp.parse("\n".join((*HEAD, BUNDLE, *SECURITY, *bare)))
    assert answer_publisher(offer, Preferences(), WAY).fingerprint == ("sha-256", "AB:CD")


@pytest.mark.parametrize(("offered", "ours"), [("active", "passive"), ("passive", "active")])
def test_the_roles_of_dtls_are_opposite(offered: str, ours: str) -> None:
    agreement = published([line.replace("actpass", offered) for line in AUDIO])
    assert f"a=setup:{ours}" in agreement.answer
    assert agreement.is_client is (ours == "active")


def test_a_viewer_is_sent_the_profile_of_the_stream() -> None:
    agreement = watched(AUDIO, VIDEO, video=Wanted((Codec.H264,), h264_profile=0x64))
    (line,) = agreement.lines
    assert line.formats[0].payload_type == 102
    assert line.formats[0].feedback == frozenset()
    assert line.direction is Direction.SENDONLY
    answer = sdp.parse(agreement.answer)
    assert [media.port for media in answer.media] == [0, 9]
    assert answer.media[1].direction == "sendonly"
    assert answer.media[1].ssrcs() == line.ssrcs


def test_a_viewers_lines_have_sources_of_ours() -> None:
    agreement = watched(AUDIO, VIDEO, video=Wanted((Codec.VP8,)), audio=Wanted((Codec.PCMA, Codec.OPUS)))
    audio, video = agreement.lines
    assert len(audio.ssrcs) == 1
    assert len(video.ssrcs) == 2
    assert f"a=ssrc-group:FID {video.ssrcs[0]} {video.ssrcs[1]}" in agreement.answer
    assert "transport-cc" not in agreement.answer
    assert audio.formats[0].codec is Codec.OPUS


def test_a_fragment_says_of_ice_what_the_answer_said() -> None:
    agreement = published(VIDEO, AUDIO)
    answer, said = sdp.parse(agreement.answer), ice_fragment(agreement.lines[0], WAY)
    parsed = sdp.parse_fragment(said)
    assert (parsed.ufrag, parsed.password, parsed.candidates) == ("ours", "password", CANDIDATES)
    assert answer.has("ice-lite")
    assert "a=ice-lite\r\n" in said
    assert f"a=ice-options:{answer.value('ice-options')}\r\n" in said
    assert "m=video 9 UDP/TLS/RTP/SAVPF 100\r\na=mid:1\r\n" in said
