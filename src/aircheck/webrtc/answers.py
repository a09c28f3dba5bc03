"""What our answers and fragments say, once it is known which lines and formats both sides use."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from aircheck.media.track import Codec, Kind
from aircheck.webrtc.media import Direction, Format, MediaLine
from aircheck.wire import sdp

_CNAME = "aircheck"
_ICE_OPTIONS = "trickle ice2"


@dataclass(frozen=True, slots=True)
class Transport:
    """What our answer says of the way to us. `candidates` are values of `a=candidate`."""

    ufrag: str
    password: str
    fingerprint: str
    candidates: tuple[str, ...]


@dataclass(slots=True)
class Line:
    """One offered line on its way to an answer; without a format it is declined."""

    offered: sdp.Media
    kind: Kind | None
    format: Format | None = None
    direction: Direction = Direction.INACTIVE
    ssrcs: tuple[int, ...] = ()
    extensions: dict[str, int] = field(default_factory=dict)


def description_of(
    offer: sdp.Description,
    lines: Sequence[Line],
    transport: Transport,
    *,
    is_client: bool,
    start_bitrate_kbps: int,
) -> sdp.Description:
    """Our answer: the lines of the offer in their order, those without a format declined.

    No `rtcp-mux-only`, which RFC 8858 4.3 keeps out of answers.
    """
    live = [line for line in lines if line.format is not None]
    answer = sdp.Description(session_id=secrets.randbits(62))
    answer.add("ice-lite")
    answer.add("ice-options", _ICE_OPTIONS)
    answer.add("group", " ".join(["BUNDLE", *(line.offered.mid for line in live)]))
    if offer.has("extmap-allow-mixed"):
        answer.add("extmap-allow-mixed")
    answer.add("msid-semantic", f"WMS {_CNAME}")
    for line in lines:
        answer.media.append(
            _decline(line.offered)
            if line.format is None
            else _accept(line, line.format, transport, is_client, start_bitrate_kbps)
        )
    return answer


def ice_fragment(line: MediaLine, transport: Transport) -> str:
    """Our credentials and candidates after an ICE restart (RFC 9725 4.3.3); `line` has the transport."""
    attributes = [
        ("ice-lite", ""),
        ("ice-options", _ICE_OPTIONS),
        ("ice-ufrag", transport.ufrag),
        ("ice-pwd", transport.password),
    ]
    candidates = [
        ("mid", line.mid),
        *(("candidate", one) for one in transport.candidates),
        ("end-of-candidates", ""),
    ]
    lines = [
        *sdp.serialize_attributes(attributes),
        f"m={line.kind} 9 UDP/TLS/RTP/SAVPF {line.formats[0].payload_type}",
        *sdp.serialize_attributes(candidates),
    ]
    return "\r\n".join(lines) + "\r\n"


def _decline(offered: sdp.Media) -> sdp.Media:
    media = sdp.Media(kind=offered.kind, port=0, protocol=offered.protocol, formats=offered.formats)
    if offered.mid:
        media.add("mid", offered.mid)
    media.add("inactive")
    return media


def _accept(
    line: Line, chosen: Format, transport: Transport, is_client: bool, start_bitrate_kbps: int
) -> sdp.Media:
    numbers = [chosen.payload_type]
    if chosen.rtx_payload_type is not None:
        numbers.append(chosen.rtx_payload_type)
    offered = line.offered
    media = sdp.Media(
        kind=offered.kind, port=9, protocol=offered.protocol, formats=tuple(str(number) for number in numbers)
    )
    if offered.mid:
        media.add("mid", offered.mid)
    media.add(line.direction.value)
    media.add("rtcp-mux")
    if offered.has("rtcp-rsize"):
        media.add("rtcp-rsize")
    _add_transport(media, transport, is_client)
    for uri, number in line.extensions.items():
        media.add("extmap", f"{number} {uri}")
    _add_format(media, offered, chosen, start_bitrate_kbps)
    if line.direction is Direction.SENDONLY:
        _add_sources(media, line)
    for candidate in transport.candidates:
        media.add("candidate", candidate)
    media.add("end-of-candidates")
    return media


def _add_transport(media: sdp.Media, transport: Transport, is_client: bool) -> None:
    media.add("ice-ufrag", transport.ufrag)
    media.add("ice-pwd", transport.password)
    media.add("fingerprint", transport.fingerprint)
    media.add("setup", "active" if is_client else "passive")


def _add_format(media: sdp.Media, offered: sdp.Media, chosen: Format, start_bitrate_kbps: int) -> None:
    number = chosen.payload_type
    mapped = next((one for one in offered.values("rtpmap") if one.split(" ")[0] == str(number)), None)
    if mapped is not None:
        media.add("rtpmap", mapped)
    parameters = dict(chosen.fmtp)
    if chosen.codec is Codec.OPUS:
        parameters["stereo"] = "1"
    if chosen.codec.kind is Kind.VIDEO and start_bitrate_kbps:
        parameters["x-google-start-bitrate"] = str(start_bitrate_kbps)
    if parameters:
        text = ";".join(f"{name}={value}" if value else name for name, value in parameters.items())
        media.add("fmtp", f"{number} {text}")
    for value in sorted(chosen.feedback):
        media.add("rtcp-fb", f"{number} {value}")
    if chosen.rtx_payload_type is not None:
        media.add("rtpmap", f"{chosen.rtx_payload_type} rtx/{chosen.clock_rate}")
        media.add("fmtp", f"{chosen.rtx_payload_type} apt={number}")


def _add_sources(media: sdp.Media, line: Line) -> None:
    media.add("msid", f"{_CNAME} {line.offered.kind}")
    if len(line.ssrcs) == 2:
        media.add("ssrc-group", f"FID {line.ssrcs[0]} {line.ssrcs[1]}")
    for ssrc in line.ssrcs:
        media.add("ssrc", f"{ssrc} cname:{_CNAME}")
