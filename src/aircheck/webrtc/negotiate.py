"""Offer and answer (RFC 8829, RFC 9143, RFC 9725 4.2): which lines and formats both sides use.

One line of audio and one of video are taken, with one format each; whatever else is offered (a second camera,
data channels, simulcast layers) is declined as RFC 3264 6 says, so that the client goes on without it. Where
half a publication would mislead people, a track that would be left out has the offer refused. All lines share
one transport: an offer of several that may not be bundled is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from aircheck.media.track import Codec, Kind
from aircheck.webrtc.answers import Line, Transport, description_of
from aircheck.webrtc.errors import BadOffer, NoCommonCodecs, TooManyTracks
from aircheck.webrtc.media import Direction, Format, MediaLine
from aircheck.wire import sdp
from aircheck.wire.rtp.send_times import ABS_SEND_TIME_URI, TRANSMISSION_OFFSET_URI

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

CODEC_NAMES = {
    "h264": Codec.H264,
    "h265": Codec.H265,
    "vp8": Codec.VP8,
    "vp9": Codec.VP9,
    "av1": Codec.AV1,
    "opus": Codec.OPUS,
    "pcma": Codec.PCMA,
    "pcmu": Codec.PCMU,
}
_STATIC_FORMATS = {0: sdp.RtpMap("pcmu", 8000), 8: sdp.RtpMap("pcma", 8000)}
"""Payload types that mean the same without an rtpmap (RFC 3551 6)."""

_RECEIVED_EXTENSIONS = (MID, TRANSPORT_CC, ABS_SEND_TIME_URI, TRANSMISSION_OFFSET_URI)
_RECEIVED_FEEDBACK = frozenset({"nack", "nack pli", "ccm fir", "transport-cc"})
_SENT_FEEDBACK = frozenset({"nack", "nack pli", "ccm fir"})
_HASHES = ("sha-256", "sha-384", "sha-512")
_PROTOCOL_SUFFIX = "RTP/SAVPF"


@dataclass(frozen=True, slots=True)
class Preferences:
    """Which codecs publishers may use, best first, and the bit rate that browsers begin with."""

    codecs: tuple[Codec, ...] = (
        Codec.H264,
        Codec.VP8,
        Codec.VP9,
        Codec.AV1,
        Codec.OPUS,
        Codec.PCMA,
        Codec.PCMU,
    )
    start_bitrate_kbps: int = 1500


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a viewer is to be sent: acceptable codecs of one kind, best first.

    `h264_profile` is the profile of the stream, to choose among several H.264 formats; 0: any.
    """

    codecs: tuple[Codec, ...]
    h264_profile: int = 0


@dataclass(frozen=True, slots=True)
class Agreement:
    """The outcome: our answer, the lines that carry media, and how to know the peer."""

    answer: str
    lines: tuple[MediaLine, ...]
    fingerprint: tuple[str, str]
    """Of the peer's certificate: name of the hash, and hex digits with colons in upper case."""
    is_client: bool
    """Whether we begin the DTLS handshake."""
    left_out: tuple[Kind, ...] = ()
    """What a viewer asked for and the stream has, but in a codec that the viewer does not know."""


Choose = Callable[[sdp.Media, Kind], Format | None]


def answer_publisher(
    offer: sdp.Description, preferences: Preferences, transport: Transport, *, is_all_or_nothing: bool = False
) -> Agreement:
    """We receive. Raises BadOffer, NoCommonCodecs; with `is_all_or_nothing` also where a track would be left
    out, and TooManyTracks.
    """

    def choose(media: sdp.Media, kind: Kind) -> Format | None:
        codecs = [codec for codec in preferences.codecs if codec.kind is kind]
        return _best_format(media, codecs, _RECEIVED_FEEDBACK, h264_profile=0)

    remedy = "offer one of H.264, VP8, VP9, AV1 or Opus on a line of the right direction"
    lines = _choose_lines(offer, choose, sends=False, remedy=remedy)
    if is_all_or_nothing:
        _check_whole(lines, {codec.kind for codec in preferences.codecs})
    for line in lines:
        if line.format is not None:
            offered = line.offered.extensions()
            line.extensions = {uri: offered[uri] for uri in _RECEIVED_EXTENSIONS if uri in offered}
            rtx = line.offered.retransmission_ssrcs()
            line.ssrcs = tuple(one for one in line.offered.ssrcs() if one not in rtx)
            line.format = _with_feedback_for(line)
    return _agree(offer, lines, transport, preferences.start_bitrate_kbps)


def answer_viewer(offer: sdp.Description, wanted: Mapping[Kind, Wanted], transport: Transport) -> Agreement:
    """We send. Raises BadOffer, NoCommonCodecs."""

    def choose(media: sdp.Media, kind: Kind) -> Format | None:
        want = wanted.get(kind)
        if want is None:
            return None
        return _best_format(media, want.codecs, _SENT_FEEDBACK, h264_profile=want.h264_profile)

    has = ", ".join(codec.value for want in wanted.values() for codec in want.codecs)
    lines = _choose_lines(offer, choose, sends=True, remedy=f"offer what the stream has: {has}")
    for line in lines:
        if line.format is not None:
            count = 1 if line.format.rtx_payload_type is None else 2
            line.ssrcs = tuple(secrets.randbelow(2**32 - 1) + 1 for _ in range(count))
    sent = {line.kind for line in lines if line.format is not None}
    asked = {line.kind for line in lines if _can_carry(line.offered, sends=True)}
    left_out = tuple(kind for kind in wanted if kind in asked - sent)
    return replace(_agree(offer, lines, transport, 0), left_out=left_out)


# lines and formats


def _choose_lines(offer: sdp.Description, choose: Choose, *, sends: bool, remedy: str) -> list[Line]:
    lines: list[Line] = []
    taken: set[Kind] = set()
    for media in offer.media:
        kind = Kind(media.kind) if media.kind in (Kind.AUDIO, Kind.VIDEO) else None
        line = Line(media, kind)
        lines.append(line)
        if kind is None or kind in taken or not _can_carry(media, sends=sends):
            continue
        line.format = choose(media, kind)
        if line.format is not None:
            taken.add(kind)
            line.direction = Direction.SENDONLY if sends else Direction.RECVONLY
    if not taken:
        raise NoCommonCodecs(f"no common codecs: {_names(*offer.media) or 'nothing'} offered", remedy=remedy)
    return lines


def _check_whole(lines: Sequence[Line], kinds: Set[Kind]) -> None:
    """RFC 9725 4.4.2, 4.4.3. A kind that the settings allow no codec of is left out on purpose."""
    taken = {line.kind for line in lines if line.format is not None}
    for line in lines:
        if line.format is not None or line.kind not in kinds or not _can_carry(line.offered, sends=False):
            continue
        if line.kind in taken:
            raise TooManyTracks(
                f"more than one {line.kind} track is offered",
                remedy="send at most one track of each kind in a session, further ones under other names",
            )
        raise NoCommonCodecs(
            f"no common {line.kind} codecs: {_names(line.offered) or 'nothing'} offered",
            remedy="offer one of H.264, VP8, VP9, AV1 for pictures, Opus for sound",
        )


def _can_carry(media: sdp.Media, *, sends: bool) -> bool:
    """Whether the line is alive, secured, and in the direction that we need."""
    directions = ("recvonly", "sendrecv") if sends else ("sendonly", "sendrecv")
    is_alive = media.port != 0 or media.has("bundle-only")
    return is_alive and media.protocol.endswith(_PROTOCOL_SUFFIX) and media.direction in directions


def _best_format(
    media: sdp.Media, codecs: Sequence[Codec], feedback: frozenset[str], *, h264_profile: int
) -> Format | None:
    """The best codec first, then what speaks for one of its payload types, then the order of the offer."""
    found: list[tuple[tuple[int, int], Format]] = []
    maps = media.rtpmaps()
    parameters = media.fmtps()
    for payload_type in media.payload_types():
        mapped = maps.get(payload_type) or _STATIC_FORMATS.get(payload_type)
        codec = CODEC_NAMES.get(mapped.name) if mapped is not None else None
        if mapped is None or codec is None or codec not in codecs or codec.kind != media.kind:
            continue
        fmtp = parameters.get(payload_type, {})
        penalty = _penalty(codec, fmtp, h264_profile)
        one = Format(
            payload_type=payload_type,
            codec=codec,
            clock_rate=mapped.clock_rate,
            channels=mapped.channels,
            rtx_payload_type=_rtx_of(payload_type, maps, parameters),
            fmtp=fmtp,
            feedback=media.feedback(payload_type) & feedback,
        )
        found.append(((codecs.index(codec), penalty), one))
    return min(found, key=lambda each: each[0])[1] if found else None


def _penalty(codec: Codec, fmtp: Mapping[str, str], h264_profile: int) -> int:
    """What speaks against a payload type among others of its codec; 0 is best."""
    if codec is Codec.H264:
        is_whole_mode = fmtp.get("packetization-mode") == "1"
        has_profile = (
            not h264_profile or fmtp.get("profile-level-id", "")[:2].lower() == f"{h264_profile:02x}"
        )
        return (0 if is_whole_mode else 2) + (0 if has_profile else 1)
    if codec is Codec.VP9:
        return 0 if fmtp.get("profile-id", "0") == "0" else 1
    return 0


def _rtx_of(
    payload_type: int, maps: Mapping[int, sdp.RtpMap], fmtps: Mapping[int, Mapping[str, str]]
) -> int | None:
    for number, mapped in maps.items():
        if mapped.name == "rtx" and fmtps.get(number, {}).get("apt") == str(payload_type):
            return number
    return None


def _with_feedback_for(line: Line) -> Format:
    """Congestion feedback by the better of two ways: the older one only where the newer is not offered."""
    chosen = line.format
    assert chosen is not None
    feedback = chosen.feedback
    if TRANSPORT_CC not in line.extensions:
        feedback -= {"transport-cc"}
        if "goog-remb" in line.offered.feedback(chosen.payload_type):
            feedback |= {"goog-remb"}
    return replace(chosen, feedback=feedback)


def _names(*offered: sdp.Media) -> str:
    names = {mapped.name for media in offered for mapped in media.rtpmaps().values()}
    return ", ".join(sorted(names))[:200]


# the answer


def _agree(
    offer: sdp.Description, lines: Sequence[Line], transport: Transport, start_bitrate_kbps: int
) -> Agreement:
    live = [line for line in lines if line.format is not None]
    _check_bundle(offer, live)
    for line in live:
        if not line.offered.has("rtcp-mux"):
            raise BadOffer(
                "the offer keeps RTP and RTCP apart",
                remedy="set rtcpMuxPolicy to require, which is the default",
            )
    first = live[0].offered
    if not offer.of(first, "ice-ufrag") or not offer.of(first, "ice-pwd"):
        raise BadOffer("the offer has no ICE credentials", remedy="offer a=ice-ufrag and a=ice-pwd")
    is_client = offer.of(first, "setup") == "passive"
    answer = description_of(
        offer, lines, transport, is_client=is_client, start_bitrate_kbps=start_bitrate_kbps
    )
    return Agreement(
        answer=sdp.serialize(answer),
        lines=tuple(_media_line(line, line.format) for line in live if line.format is not None),
        fingerprint=_fingerprint_of(offer, first),
        is_client=is_client,
    )


def _check_bundle(offer: sdp.Description, live: Sequence[Line]) -> None:
    mids = offer.bundled()
    if len(live) > 1 and any(not line.offered.mid or line.offered.mid not in mids for line in live):
        raise BadOffer(
            "the offer wants a transport for each line",
            remedy="let the client bundle: bundlePolicy max-bundle, balanced or max-compat in browsers,"
            " bundle-policy=max-bundle in GStreamer",
        )


def _fingerprint_of(offer: sdp.Description, media: sdp.Media) -> tuple[str, str]:
    for value in (*media.values("fingerprint"), *offer.values("fingerprint")):
        name, _, digits = value.partition(" ")
        if name.lower() in _HASHES and digits.strip():
            return name.lower(), digits.strip().upper()
    raise BadOffer(
        "the offer has no fingerprint of a certificate",
        remedy="offer a=fingerprint with SHA-256, as every WebRTC client does",
    )


def _media_line(line: Line, chosen: Format) -> MediaLine:
    assert line.kind is not None
    return MediaLine(
        mid=line.offered.mid,
        kind=line.kind,
        formats=(chosen,),
        extensions=line.extensions,
        ssrcs=line.ssrcs,
        direction=line.direction,
    )
