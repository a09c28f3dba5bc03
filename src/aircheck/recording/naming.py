"""Names of files: from a template and what is known of a recording to one path inside the record folder.

    template = NameTemplate.parse("{streamName}/{time:%Y-%m-%d}/{startTime}-{endTime}")
    template.preview(elements, extension="mp4")           news/2026-11-21/40000-{endTime}.mp4
    template.resolve(elements, extension="mp4", part=3)   news/2026-11-21/40000-60000_3.mp4

Elements. Those with a cap keep at most so many characters:
    {streamName} {app}                     as published
    {duration}                             milliseconds
    {startTime} {endTime}                  20; milliseconds by the stream's own timestamps
    {startTimeMillis} {endTimeMillis}      20; milliseconds since the epoch by the server's clock
    {sessionId}                            60; the connection's id in BASE64
    {mediaSessionId} {login}               36, 32
    {audioCodec} {videoCodec}              4
    {time:FORMAT} {time@ZONE:FORMAT}       start by the server's clock, in the words of `strftime`; UTC
    {part:FIRST}                           the file's number in the recording; FIRST is that of the first file
                                           as it is to be written: `1`, `0000`

A name is a promise about the disk: whatever a stream is called, the result stays below the record folder,
each of its parts is an ordinary visible file name of at most 255 bytes, and only slashes of the template
itself make folders. BASE64 is the URL-safe alphabet with its padding (RFC 4648 section 5): `/` cannot
stand in a name.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count

from aircheck.errors import ConfigError
from aircheck.recording.zones import Zone, parse_zone, time_in

NAME_MAX_BYTES = 255
"""The longest file name that Linux file systems take."""

_UNNAMED = "unnamed"
_SUBSTITUTE = "_"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NameEncoding(StrEnum):
    """How names are written; the extension and the part number stay readable in any case."""

    PLAIN = "plain"
    HEX = "hex"
    BASE64 = "base64"


class OnConflict(StrEnum):
    """What happens to a file that already has the wanted name. Nothing else ever touches it."""

    FREE_NUMBER = "free_number"
    """It stays; the new file gets the next free name of `candidates`."""
    OVERWRITE = "overwrite"
    """It is replaced, in one step."""
    VERSION = "version"
    """It is renamed to the next free name of `versions`; the new file gets the name."""
    APPEND = "append"
    """It is continued, its time from where it ended; what cannot be continued stays as with FREE_NUMBER."""
    APPEND_WITH_GAP = "append_with_gap"
    """The same, and the time between its end and the new beginning is left open."""

    @property
    def appends(self) -> bool:
        return self in (OnConflict.APPEND, OnConflict.APPEND_WITH_GAP)


@dataclass(frozen=True, slots=True)
class NameElements:
    """What is known of a recording. None is not known yet; a text that stays empty is known to be missing.

    `start_ms` and `end_ms` are milliseconds by the stream's own timestamps, `start_ns` and `end_ns`
    nanoseconds since the epoch by the server's clock.
    """

    stream_name: str = ""
    app: str = ""
    session_id: str = ""
    media_session_id: str = ""
    login: str = ""
    start_ms: int | None = None
    end_ms: int | None = None
    start_ns: int | None = None
    end_ns: int | None = None
    duration_ms: int | None = None
    audio_codec: str | None = None
    video_codec: str | None = None
    part: int = 1
    """Number of the file in its recording, from 1."""


@dataclass(frozen=True, slots=True)
class _Literal:
    text: str

    def value(self, elements: NameElements) -> str | None:
        return self.text


@dataclass(frozen=True, slots=True)
class _Element:
    text: str
    get: Callable[[NameElements], str | int | None]
    cap: int | None

    def value(self, elements: NameElements) -> str | None:
        value = self.get(elements)
        return None if value is None else str(value)[: self.cap]


@dataclass(frozen=True, slots=True)
class _Time:
    text: str
    format: str
    zone: Zone

    def value(self, elements: NameElements) -> str | None:
        if elements.start_ns is None:
            return None
        return time_in(self.zone, elements.start_ns).strftime(self.format)


@dataclass(frozen=True, slots=True)
class _Number:
    text: str
    first: str
    """The number of the first file, as it is to be written."""

    def value(self, elements: NameElements) -> str | None:
        return str(int(self.first) + elements.part - 1).zfill(len(self.first))


_Part = _Literal | _Element | _Time | _Number


def _session_id(elements: NameElements) -> str:
    return _base64(elements.session_id)


def _millis(time_ns: int | None) -> int | None:
    return None if time_ns is None else time_ns // 1_000_000


_ELEMENTS: dict[str, tuple[Callable[[NameElements], str | int | None], int | None]] = {
    "streamName": (lambda known: known.stream_name, None),
    "app": (lambda known: known.app, None),
    "duration": (lambda known: known.duration_ms, None),
    "startTime": (lambda known: known.start_ms, 20),
    "endTime": (lambda known: known.end_ms, 20),
    "startTimeMillis": (lambda known: _millis(known.start_ns), 20),
    "endTimeMillis": (lambda known: _millis(known.end_ns), 20),
    "sessionId": (_session_id, 60),
    "mediaSessionId": (lambda known: known.media_session_id, 36),
    "login": (lambda known: known.login, 32),
    "audioCodec": (lambda known: known.audio_codec, 4),
    "videoCodec": (lambda known: known.video_codec, 4),
}
_KNOWN = (
    ", ".join(f"{{{name}}}" for name in _ELEMENTS)
    + ", {time:%Y%m%d-%H%M%S}, {time@Europe/Paris:%H%M}, {part:0001}"
)
_TOKEN = re.compile(r"\{([^{}]*)\}|([^{}]+)|([{}])")
_TIME = re.compile(r"time(?:@(?P<zone>[^:]*))?:(?P<format>.+)", re.DOTALL)
_NUMBER = re.compile(r"part:(?P<first>[0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """A template that has been read: for each folder, and at last for the file, the pieces of its name."""

    text: str
    encoding: NameEncoding
    excluded_characters: str
    _components: tuple[tuple[_Part, ...], ...]

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        encoding: NameEncoding = NameEncoding.PLAIN,
        excluded_characters: str = "/",
    ) -> NameTemplate:
        """Read a template. Raises ConfigError: unknown element, brace without its partner, no file name."""
        components: list[list[_Part]] = [[]]
        for token in _TOKEN.finditer(text):
            first, *others = _pieces(token)
            components[-1].append(first)
            components.extend([piece] for piece in others)
        if not _has_text(components[-1]):
            raise ConfigError(f'the template "{text}" gives no file name', remedy="Write it as {streamName}.")
        kept = tuple(tuple(pieces) for pieces in components if _has_text(pieces))
        return cls(text, encoding, excluded_characters, kept)

    def resolve(self, elements: NameElements, *, extension: str, part: int | None = None) -> str:
        """The final name, relative to the record folder. What is not known even now is left empty.

        `part` is a number to put behind the name: that of the file in a rotated recording, from 1.
        """
        number = "" if part is None else f"_{part}"
        *folders, stem = self._components
        names = [self._fit(pieces, elements, "") for pieces in folders]
        return "/".join([*names, self._fit(stem, elements, f"{number}.{extension}")])

    @property
    def has_part(self) -> bool:
        """Whether the files of a recording have numbers by the template itself."""
        return any(isinstance(piece, _Number) for pieces in self._components for piece in pieces)

    def is_settled(self, elements: NameElements) -> bool:
        """Whether all that the name is made of is known."""
        return all(piece.value(elements) is not None for pieces in self._components for piece in pieces)

    def preview(self, elements: NameElements, *, extension: str, part: int | None = None) -> str:
        """The name as far as it is known: what is to come stands there as `{endTime}`, not encoded."""
        if self.is_settled(elements):
            return self.resolve(elements, extension=extension, part=part)
        names = (self._join(pieces, elements, shows_unknown=True) for pieces in self._components)
        number = "" if part is None else f"_{part}"
        return f"{'/'.join(names)}{number}.{extension}"

    def _join(self, pieces: tuple[_Part, ...], elements: NameElements, *, shows_unknown: bool = False) -> str:
        values = ((piece.value(elements), piece.text if shows_unknown else "") for piece in pieces)
        return self._clean("".join(unknown if value is None else value for value, unknown in values))

    def _fit(self, pieces: tuple[_Part, ...], elements: NameElements, suffix: str) -> str:
        """Encode a component so that it has at most 255 bytes with its suffix and can still be decoded."""
        room = NAME_MAX_BYTES - len(suffix.encode())
        match self.encoding:
            case NameEncoding.PLAIN:
                return self._cut(pieces, elements, room) + suffix
            case NameEncoding.HEX:
                return self._cut(pieces, elements, room // 2).encode().hex() + suffix
            case NameEncoding.BASE64:
                return _base64(self._cut(pieces, elements, room // 4 * 3)) + suffix

    def _cut(self, pieces: tuple[_Part, ...], elements: NameElements, size_bytes: int) -> str:
        """The component, cut to that size at its end, or before what ends with the file's number."""
        name = self._join(pieces, elements)
        if len(name.encode()) <= size_bytes:
            return name
        kept = name.removeprefix(self._join(pieces[: _end_of_head(pieces)], elements))
        room = size_bytes - len(kept.encode())
        if room < size_bytes // 2:
            return truncate(name, size_bytes)
        return truncate(name, room) + kept

    def _clean(self, name: str) -> str:
        for character in self.excluded_characters:
            name = name.replace(character, "")
        return safe_component(name)


def _pieces(token: re.Match[str]) -> list[_Part]:
    """The pieces of one token: each piece but the first begins a new component.

    A slash in a literal and in a time's format is the template's own, so it makes a folder.
    """
    element, literal, stray = token.groups()
    if stray is not None:
        raise ConfigError(
            f'a "{stray}" without its partner in the file name template "{token.string}"',
            remedy="Write elements as {streamName}; braces cannot be part of a name.",
        )
    if literal is not None:
        return [_Literal(text) for text in literal.split("/")]
    if (time := _TIME.fullmatch(element)) is not None:
        zone = _zone(time["zone"])
        _check_format(time["format"])
        return [_Time(f"{{{element}}}" if text else "", text, zone) for text in time["format"].split("/")]
    if (number := _NUMBER.fullmatch(element)) is not None:
        return [_Number(f"{{{element}}}", number["first"])]
    if element not in _ELEMENTS:
        raise ConfigError(
            f'unknown element "{{{element}}}" in a file name template', remedy=f"Known: {_KNOWN}."
        )
    get, cap = _ELEMENTS[element]
    return [_Element(f"{{{element}}}", get, cap)]


def _check_format(format: str) -> None:
    try:
        _EPOCH.strftime(format)
    except ValueError as error:
        raise ConfigError(
            f'"{format!r}" is no format of a time in a file name template: {error}',
            remedy="Write it in the words of strftime, such as {time:%Y%m%d-%H%M%S}.",
        ) from error


def _end_of_head(pieces: Sequence[_Part]) -> int:
    """How many pieces come before the file's number, and before the literal that leads to it."""
    number = next((i for i, piece in enumerate(pieces) if isinstance(piece, _Number)), len(pieces))
    is_led = 0 < number < len(pieces) and isinstance(pieces[number - 1], _Literal)
    return number - 1 if is_led else number


def _has_text(pieces: list[_Part]) -> bool:
    return any(piece.text for piece in pieces)


def _zone(name: str | None) -> Zone:
    if name is None:
        return UTC
    try:
        return parse_zone(name)
    except ValueError as error:
        raise ConfigError(
            f'unknown time zone "{name}" in a file name template',
            remedy='Write "Europe/Paris", "UTC" or "local"; the package tzdata holds the list.',
        ) from error


# Control characters, lone surrogates, separators of lines, and marks that turn the direction of writing: none
# is visible, and each makes a name that people cannot type or that shows as another.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069\\/]")
# Names of devices on Windows, where recordings are downloaded to or shared with.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(?![^.])", re.IGNORECASE)


def safe_component(name: str) -> str:
    """The name as one visible, ordinary component of a path, of any length but never empty."""
    name = _UNSAFE.sub(_SUBSTITUTE, name).strip()
    visible = name.lstrip(".")
    name = _SUBSTITUTE * (len(name) - len(visible)) + visible
    if _DEVICE.match(name) is not None:
        name = _SUBSTITUTE + name
    return name or _UNNAMED


def truncate(text: str, size_bytes: int) -> str:
    """As many whole characters as fit into so many bytes of UTF-8."""
    return text.encode()[:size_bytes].decode(errors="ignore")


def candidates(name: str) -> Iterator[str]:
    """The name and then `name_0001.ext`, `name_0002.ext`, …: the first that is free is taken."""
    yield name
    for number in count(1):
        yield _numbered(name, f"_{number:04d}")


def versions(name: str) -> Iterator[str]:
    """`name_0.ext`, `name_1.ext`, …: the first that is free is where the older file of this name goes."""
    for number in count():
        yield _numbered(name, f"_{number}")


def _numbered(name: str, number: str) -> str:
    folder, slash, file_name = name.rpartition("/")
    stem, dot, extension = file_name.rpartition(".")
    if not stem:
        stem, dot, extension = file_name, "", ""
    suffix = number + dot + extension
    return folder + slash + truncate(stem, NAME_MAX_BYTES - len(suffix.encode())) + suffix


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode(errors="replace")).decode()
