"""NetConnection and NetStream commands, and what their arguments mean (RTMP specification 7.2).

Encoders differ in where they put what: keys in any case, quoted URLs, an ECMA array instead of an object, the
stream's name half in the URL and half in the key. All of that is levelled here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import parse_qsl

from aircheck.wire import amf
from aircheck.wire.amf import AmfValue
from aircheck.wire.errors import AmfError, RemoteProtocolError
from aircheck.wire.rtmp.messages import Message, MessageType

VIDEO_FOURCCS = ("avc1", "hvc1", "av01", "vp09", "vp08")
AUDIO_FOURCCS = ("Opus", "mp4a", "fLaC", "ac-3", ".mp3")

CAN_DECODE, CAN_ENCODE, CAN_FORWARD = 1, 2, 4
CAPS_RECONNECT, CAPS_MULTITRACK, CAPS_MOD_EX = 1, 2, 4


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it came. `command_object` is empty when the peer sent null."""

    name: str
    transaction_id: float
    command_object: Mapping[str, AmfValue]
    arguments: tuple[AmfValue, ...]
    stream_id: int = 0
    offset: int = 0

    def argument(self, index: int) -> AmfValue:
        return self.arguments[index] if index < len(self.arguments) else None

    def text(self, index: int) -> str:
        """An argument as text; empty when it is missing or of another kind."""
        value = self.argument(index)
        return value if isinstance(value, str) else ""

    def number(self, index: int, default: float = 0.0) -> float:
        return number_of(self.argument(index), default)


def number_of(value: AmfValue, default: float = 0.0) -> float:
    """A finite number, from a number or a boolean."""
    if isinstance(value, (int, float)) and abs(value) < 1e15:
        return float(value)
    return default


def parse_command(message: Message, *, session: str = "", max_bytes: int = 256 * 1024) -> Command:
    """Raises `RemoteProtocolError`."""
    payload = bytes(message.payload)
    if message.type_id == MessageType.COMMAND_AMF3:
        # A format byte, always 0; then AMF0, which may switch to AMF3 for single values.
        payload = payload.removeprefix(b"\0")
    try:
        values = amf.parse(payload, max_bytes=max_bytes)
    except AmfError as error:
        raise _fault(f"a command that cannot be read: {error.message}", message, session) from error
    if not values or not isinstance(values[0], str):
        raise _fault("a command without a name", message, session)
    transaction_id = number_of(values[1]) if len(values) > 1 else 0.0
    first = values[2] if len(values) > 2 else None
    command_object = first if isinstance(first, dict) else {}
    return Command(
        values[0], transaction_id, command_object, tuple(values[3:]), message.stream_id, message.offset
    )


def _fault(text: str, message: Message, session: str) -> RemoteProtocolError:
    return RemoteProtocolError(text, session=session, offset=message.offset, data=bytes(message.payload[:32]))


@dataclass(frozen=True, slots=True)
class ConnectParameters:
    """The command object of `connect`, levelled."""

    app: str = ""
    tc_url: str = ""
    flash_version: str = ""
    swf_url: str = ""
    page_url: str = ""
    object_encoding: int = 0
    fourccs: tuple[str, ...] = ()
    caps_ex: int = 0
    query: Mapping[str, str] = field(default_factory=dict)


def parse_connect(command_object: Mapping[str, AmfValue]) -> ConnectParameters:
    members = {key.lower(): value for key, value in command_object.items()}

    def text(key: str) -> str:
        value = members.get(key)
        return _unquoted(value) if isinstance(value, str) else ""

    raw_app, tc_url = text("app"), text("tcurl")
    fourccs = members.get("fourcclist")
    app, app_query = _split_query(raw_app)
    return ConnectParameters(
        app=app.strip("/"),
        tc_url=tc_url,
        flash_version=text("flashver"),
        swf_url=text("swfurl"),
        page_url=text("pageurl"),
        object_encoding=int(number_of(members.get("objectencoding"))),
        fourccs=tuple(item for item in fourccs if isinstance(item, str)) if isinstance(fourccs, list) else (),
        caps_ex=int(number_of(members.get("capsex"))),
        query=_split_query(tc_url)[1] | app_query,
    )


def enhanced_answer(command_object: Mapping[str, AmfValue]) -> dict[str, AmfValue]:
    """Our side of Enhanced RTMP's capabilities: an answer to those that the client has sent, to no others."""
    asked = {key.lower(): value for key, value in command_object.items()}
    answer: dict[str, AmfValue] = {}
    fourccs = asked.get("fourcclist")
    if isinstance(fourccs, list):
        answer["fourCcList"] = [
            name for name in VIDEO_FOURCCS + AUDIO_FOURCCS if "*" in fourccs or name in fourccs
        ]
    for key, names in (("videoFourCcInfoMap", VIDEO_FOURCCS), ("audioFourCcInfoMap", AUDIO_FOURCCS)):
        if isinstance(asked.get(key.lower()), dict):
            answer[key] = {name: float(CAN_DECODE | CAN_FORWARD) for name in names}
    if "capsex" in asked:
        answer["capsEx"] = float(CAPS_RECONNECT | CAPS_MULTITRACK | CAPS_MOD_EX)
    return answer


class StreamTarget(NamedTuple):
    """Where a stream belongs: `app` is the first part of the joined path, `name` the rest."""

    app: str
    name: str
    query: dict[str, str]


def join_stream_name(tc_url: str, app: str, key: str) -> str:
    """The path of a stream, of the URL's and the key's parts: `live/room/cam`, however the client split it.

    `app` counts when the URL has no path. The default instance `_definst_` is no part of the name.
    """
    base = _path_of(_split_query(_unquoted(tc_url))[0]) or _split_query(_unquoted(app))[0]
    parts = [part for part in f"{base}/{_split_query(key)[0]}".split("/") if part]
    return "/".join(part for i, part in enumerate(parts) if not (i == 1 and part == "_definst_"))


def parse_target(tc_url: str, app: str, key: str) -> StreamTarget:
    """Application, stream name and the queries of URL, application and key; the key's win.

    With a single part in the path, that part is the name if the key has brought it, else the application.
    """
    path = join_stream_name(tc_url, app, key)
    query: dict[str, str] = {}
    for text in (tc_url, app, key):
        query |= _split_query(_unquoted(text))[1]
    first, _, rest = path.partition("/")
    if not rest and _split_query(key)[0].strip("/"):
        return StreamTarget("", first, query)
    return StreamTarget(first, rest, query)


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'").strip()


def _split_query(text: str) -> tuple[str, dict[str, str]]:
    path, _, query = text.partition("?")
    return path, dict(parse_qsl(query, keep_blank_values=True, max_num_fields=None))


def _path_of(url: str) -> str:
    """What follows host and port."""
    _, separator, rest = url.partition("://")
    return rest.partition("/")[2] if separator else ""
