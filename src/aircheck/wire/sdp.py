"""Session descriptions (RFC 8866) as offer and answer use them (RFC 8829), and pieces of them (RFC 8840).

A description is kept as its attributes, in order; typed views read those that matter and pass over values
that make no sense, because an offer holds dozens of lines that no one here needs. What breaks the frame (no
`v=0`, a line without a type, an m-line that is none, sizes beyond the limits) raises `SdpError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from aircheck.wire.errors import RemoteProtocolError

MAX_BYTES = 128 * 1024
MAX_LINES = 4000
MAX_LINE_CHARACTERS = 4096
MAX_MEDIA = 64

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")


class SdpError(RemoteProtocolError):
    """`offset` is the number of the line, from 1."""


@dataclass(frozen=True, slots=True)
class RtpMap:
    """`name` is in lower case. `channels` is 1 where the line does not say."""

    name: str
    clock_rate: int
    channels: int = 1


@dataclass(slots=True)
class Section:
    """Attributes of one level: pairs of name and value, the value empty for a flag."""

    attributes: list[tuple[str, str]] = field(default_factory=list)

    def has(self, name: str) -> bool:
        return any(one == name for one, _ in self.attributes)

    def value(self, name: str, default: str = "") -> str:
        return next((value for one, value in self.attributes if one == name), default)

    def values(self, name: str) -> list[str]:
        return [value for one, value in self.attributes if one == name]

    def add(self, name: str, value: str = "") -> None:
        self.attributes.append((name, value))


@dataclass(slots=True)
class Media(Section):
    """One m-line with what follows it. `formats` are payload types as they are written."""

    kind: str = ""
    port: int = 0
    protocol: str = ""
    formats: tuple[str, ...] = ()

    @property
    def mid(self) -> str:
        return self.value("mid")

    @property
    def direction(self) -> str:
        return next((name for name, _ in self.attributes if name in DIRECTIONS), "sendrecv")

    def payload_types(self) -> list[int]:
        """In the order of preference, each once."""
        numbers = (_number(one, 127) for one in self.formats)
        return list(dict.fromkeys(number for number in numbers if number is not None))

    def rtpmaps(self) -> dict[int, RtpMap]:
        maps: dict[int, RtpMap] = {}
        for payload_type, rest in self._of_payload_types("rtpmap"):
            name, _, clock = rest.strip().partition("/")
            rate, _, channels = clock.partition("/")
            clock_rate = _number(rate, 1_000_000)
            if name and clock_rate:
                maps.setdefault(payload_type, RtpMap(name.lower(), clock_rate, _number(channels, 255) or 1))
        return maps

    def fmtps(self) -> dict[int, dict[str, str]]:
        """Parameters by payload type, their names in lower case."""
        return {number: parse_parameters(rest) for number, rest in self._of_payload_types("fmtp")}

    def feedback(self, payload_type: int) -> frozenset[str]:
        """Values of `rtcp-fb` for one payload type, those for all (`*`) included."""
        found = set()
        for value in self.values("rtcp-fb"):
            number, _, rest = value.partition(" ")
            if number in ("*", str(payload_type)):
                found.add(" ".join(rest.split()).lower())
        return frozenset(found)

    def extensions(self) -> dict[str, int]:
        """Ids of RTP header extensions by URI (RFC 8285 8)."""
        found: dict[str, int] = {}
        for value in self.values("extmap"):
            words = value.split()
            number = _number(words[0].partition("/")[0], 255) if len(words) >= 2 else None
            if number:
                found.setdefault(words[1], number)
        return found

    def ssrcs(self) -> tuple[int, ...]:
        """Those announced, each once, in order."""
        numbers = (_number(value.partition(" ")[0], 0xFFFFFFFF) for value in self.values("ssrc"))
        return tuple(dict.fromkeys(number for number in numbers if number is not None))

    def retransmission_ssrcs(self) -> dict[int, int]:
        """The media SSRC of each RTX SSRC, from `ssrc-group:FID` (RFC 5576)."""
        pairs: dict[int, int] = {}
        for value in self.values("ssrc-group"):
            words = value.split()
            if len(words) == 3 and words[0] == "FID":
                media, repair = _number(words[1], 0xFFFFFFFF), _number(words[2], 0xFFFFFFFF)
                if media is not None and repair is not None:
                    pairs[repair] = media
        return pairs

    def _of_payload_types(self, name: str) -> Iterable[tuple[int, str]]:
        for value in self.values(name):
            number, _, rest = value.partition(" ")
            payload_type = _number(number, 127)
            if payload_type is not None:
                yield payload_type, rest


@dataclass(slots=True)
class Description(Section):
    """A whole description: what holds for the session, then its media in order."""

    media: list[Media] = field(default_factory=list)
    session_id: int = 0
    version: int = 1

    def of(self, media: Media, name: str) -> str:
        """An attribute of a medium, or of the session where the medium has none."""
        return media.value(name) or self.value(name)

    def bundled(self) -> tuple[str, ...]:
        """Mids of the first BUNDLE group (RFC 9143)."""
        groups = (value.split() for value in self.values("group"))
        return next((tuple(words[1:]) for words in groups if words[:1] == ["BUNDLE"]), ())


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of a description that a client sends later (RFC 8840): candidates, or new ICE credentials."""

    ufrag: str
    password: str
    candidates: tuple[str, ...]
    is_last: bool


def parse(text: str) -> Description:
    """Raises `SdpError`."""
    description = Description()
    section: Section = description
    for number, kind, value in _lines(text):
        if number == 1 and (kind, value) != ("v", "0"):
            raise SdpError("a description begins with v=0", offset=number, data=value.encode())
        if kind == "m":
            if len(description.media) == MAX_MEDIA:
                raise SdpError(f"more than {MAX_MEDIA} media", offset=number)
            section = _parse_media(value, number)
            description.media.append(section)
        elif kind == "a":
            name, _, rest = value.partition(":")
            section.add(name, rest.strip())
        elif kind == "o":
            words = value.split()
            description.session_id = (_number(words[1], 2**64) or 0) if len(words) > 2 else 0
    if not text.strip():
        raise SdpError("an empty description", offset=1)
    return description


def parse_fragment(text: str) -> Fragment:
    """Raises `SdpError`. Lines that a fragment has no use for are passed over."""
    attributes = Section()
    for _, kind, value in _lines(text):
        if kind == "a":
            name, _, rest = value.partition(":")
            attributes.add(name, rest.strip())
    return Fragment(
        attributes.value("ice-ufrag"),
        attributes.value("ice-pwd"),
        tuple(attributes.values("candidate")),
        attributes.has("end-of-candidates"),
    )


def parse_parameters(text: str) -> dict[str, str]:
    """`a=1;b=2` of an fmtp line, names in lower case. What has no name is kept under itself."""
    pairs = (part.strip().partition("=") for part in text.split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip()}


def serialize(description: Description) -> str:
    """The text of a description, with the lines that RFC 8866 demands."""
    lines = [
        "v=0",
        f"o=- {description.session_id} {description.version} IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        *serialize_attributes(description.attributes),
    ]
    for media in description.media:
        lines.append(f"m={media.kind} {media.port} {media.protocol} {' '.join(media.formats)}")
        lines.append("c=IN IP4 0.0.0.0")
        lines += serialize_attributes(media.attributes)
    return "\r\n".join(lines) + "\r\n"


def serialize_attributes(attributes: Iterable[tuple[str, str]]) -> list[str]:
    return [f"a={name}:{value}" if value else f"a={name}" for name, value in attributes]


def _lines(text: str) -> Iterable[tuple[int, str, str]]:
    """Number from 1, type and value of each line. Either line end is taken, empty lines are passed over."""
    if len(text) > MAX_BYTES:
        raise SdpError(f"a description of {len(text)} characters", offset=1)
    lines = [line for line in (raw.strip() for raw in text.split("\n")) if line]
    if len(lines) > MAX_LINES:
        raise SdpError(f"a description of {len(lines)} lines", offset=MAX_LINES)
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise SdpError(f"a line of {len(line)} characters", offset=number, data=_head(line))
        if line[1:2] != "=":
            raise SdpError("not a line of a description", offset=number, data=_head(line))
        yield number, line[0], line[2:]


def _parse_media(value: str, number: int) -> Media:
    words = value.split()
    port = _number(words[1].partition("/")[0], 65535) if len(words) >= 4 else None
    if port is None:
        raise SdpError("not a media line", offset=number, data=_head(value))
    return Media(kind=words[0].lower(), port=port, protocol=words[2], formats=tuple(words[3:]))


def _number(text: str, limit: int) -> int | None:
    """A decimal of ASCII digits no larger than the limit."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        return None
    number = int(text)
    return number if number <= limit else None


def _head(text: str) -> bytes:
    return text[:64].encode(errors="replace")
