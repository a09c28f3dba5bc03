"""Session descriptions: views of real ones, limits, and whatever anybody may send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.wire import sdp
from aircheck.wire.sdp import RtpMap, SdpError

OFFER = """\
v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=ice-ufrag:session
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0
c=IN IP4 0.0.0.0
a=ice-ufrag:media
a=extmap:4/sendonly urn:ietf:params:rtp-hdrext:sdes:mid
a=sendonly
a=mid:0
a=rtpmap:111 opus/48000/2
a=rtcp-fb:* nack
a=rtcp-fb:111 Transport-CC
a=fmtp:111 minptime=10; useInbandFec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=ssrc:1234 cname:x
a=ssrc:1234 msid:y z
m=video 9 UDP/TLS/RTP/SAVPF 96 97 96
a=mid:1
a=ssrc-group:FID 5 6
a=ssrc:5 cname:x
a=ssrc:6 cname:x
"""


def test_a_real_offer_is_read() -> None:
    description = sdp.parse(OFFER)
    audio, video = description.media
    assert description.session_id == 4611731400430051336
    assert description.bundled() == ("0", "1")
    assert audio.direction == "sendonly"
    assert video.direction == "sendrecv"
    assert audio.payload_types() == [111, 63, 9, 0]
    assert video.payload_types() == [96, 97]
    assert audio.rtpmaps() == {
        111: RtpMap("opus", 48000, 2),
        63: RtpMap("red", 48000, 2),
        9: RtpMap("g722", 8000),
    }
    assert audio.fmtps() == {111: {"minptime": "10", "useinbandfec": "1"}, 63: {"111/111": ""}}
    assert audio.feedback(111) == {"nack", "transport-cc"}
    assert audio.feedback(9) == {"nack"}
    assert audio.extensions() == {"urn:ietf:params:rtp-hdrext:sdes:mid": 4}
    assert audio.ssrcs() == (1234,)
    assert video.retransmission_ssrcs() == {6: 5}
    assert (description.of(audio, "ice-ufrag"), description.of(video, "ice-ufrag")) == ("media", "session")


def test_what_is_written_is_read() -> None:
    description = sdp.parse(OFFER)
    again = sdp.parse(sdp.serialize(description))
    assert again == description
    assert "\r\na=sendonly\r\n" in sdp.serialize(description)


@pytest.mark.parametrize(
    "line",
    [
        "a=rtpmap:x opus/48000",
        "a=rtpmap:111",
        "a=rtpmap:999 opus/48000",
        "a=rtpmap:111 opus/x",
        "a=rtpmap:111 opus/0",
        "a=rtpmap:111 opus/٤٨",
        "a=fmtp:",
        "a=extmap:0 urn:x",
        "a=extmap:x",
        "a=ssrc:99999999999 cname:x",
        "a=ssrc-group:FID 5",
        "a=group:",
        "a=",
        "x=",
        "o=",
    ],
)
def test_values_that_make_no_sense_are_passed_over(line: str) -> None:
    description = sdp.parse(f"v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 111\n{line}\n")
    media = description.media[0]
    assert media.rtpmaps() == {}
    assert media.extensions() == {}
    assert media.ssrcs() == ()
    assert media.retransmission_ssrcs() == {}
    assert description.bundled() == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "junk",
        "v=1\n",
        "m=audio 9 x 1\n",
        "v=0\nm=audio\n",
        "v=0\nm=audio 70000 x 1\n",
        "v=0\nm=audio nine x 1\n",
        "v=0\n" + "a=x\n" * 5000,
        "v=0\na=" + "x" * 5000,
        "v=0\n" + "m=audio 9 x 1\n" * 65,
        "v=0\n" + "a=" + "x" * 200_000,
    ],
)
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(SdpError):
        sdp.parse(text)


def test_a_fragment_tells_credentials_and_candidates() -> None:
    text = (
        "a=ice-ufrag:u\r\na=ice-pwd:p\r\nm=audio 9 x 0\r\na=mid:0\r\na=candidate:1 1 udp 1 a 2 typ host\r\n"
    )
    fragment = sdp.parse_fragment(text + "a=end-of-candidates\r\n")
    assert (fragment.ufrag, fragment.password, fragment.is_last) == ("u", "p", True)
    assert fragment.candidates == ("1 1 udp 1 a 2 typ host",)
    assert sdp.parse_fragment("").candidates == ()


def view(text: str) -> None:
    description = sdp.parse(text)
    description.bundled()
    for media in description.media:
        media.payload_types(), media.rtpmaps(), media.fmtps(), media.extensions()
        media.ssrcs(), media.retransmission_ssrcs(), media.feedback(96), media.direction


lines = st.sampled_from(OFFER.splitlines())
broken = st.builds(
    lambda line, at, junk: line[:at] + junk + line[at + 1 :], lines, st.integers(0, 60), st.text()
)


@given(st.lists(lines | broken, max_size=40).map("\n".join) | st.text(max_size=300))
def test_only_sdp_errors_come_of_anything(text: str) -> None:
    for candidate in (text, "v=0\n" + text):
        try:
            view(candidate)
            sdp.parse_fragment(candidate)
        except SdpError:
            pass
