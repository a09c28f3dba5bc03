"""Every setting: its name, its default, and what it costs to change it.

This is the only registry: the configuration file, the environment variables and the reference page are all
made from these fields. Each description says what follows from the value, not only what it is.
"""

from __future__ import annotations

from datetime import UTC
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from aircheck.errors import ConfigError
from aircheck.faces.whip.ice_servers import IceServer
from aircheck.media import aac
from aircheck.recording.naming import NameEncoding, NameTemplate
from aircheck.recording.rotation import RotationRule, format_rotation, parse_rotation
from aircheck.recording.zones import Zone, format_zone, parse_zone
from aircheck.settings.values import Listen
from aircheck.webrtc.negotiate import CODEC_NAMES

ENV_PREFIX = "AIRCHECK_"
ENV_DELIMITER = "__"

HIDDEN_FOLDER = ".aircheck"
"""In the record folder; no recording can be named like it, as names never begin with a dot."""


def _to_listen(value: Any) -> Any:
    return Listen.parse(value) if isinstance(value, str) else value


def _to_listen_or_off(value: Any) -> Any:
    return None if value == "" else _to_listen(value)


def _to_rotation(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return parse_rotation(str(value)) if isinstance(value, str) or is_number else value


def _to_zone(value: Any) -> Any:
    return parse_zone(value) if isinstance(value, str) else value


def _to_path_or_none(value: Any) -> Any:
    return None if value == "" else value


def _to_template(value: Any) -> Any:
    if isinstance(value, str):
        try:
            NameTemplate.parse(value)
        except ConfigError as error:
            raise ValueError(f"{error.message}. {error.remedy}") from error
    return value


def _to_text(value: object) -> str:
    return "" if value is None else str(value)


Address = Annotated[Listen, NoDecode, BeforeValidator(_to_listen), PlainSerializer(_to_text)]
AddressOrOff = Annotated[
    Listen | None, NoDecode, BeforeValidator(_to_listen_or_off), PlainSerializer(_to_text)
]
RotationText = Annotated[
    RotationRule, NoDecode, BeforeValidator(_to_rotation), PlainSerializer(format_rotation)
]
ZoneText = Annotated[Zone, NoDecode, BeforeValidator(_to_zone), PlainSerializer(format_zone)]
OptionalPath = Annotated[Path | None, BeforeValidator(_to_path_or_none), PlainSerializer(_to_text)]
TemplateText = Annotated[str, BeforeValidator(_to_template)]


class Section(BaseModel):
    """A table of the file. Unknown keys are refused; values are fixed once read."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class RtmpSettings(Section):
    """Publishers and players over RTMP."""

    listen: Address = Field(
        default=Listen("127.0.0.1", 1935),
        description="Address and port. The default is reached from this machine only; to take streams from "
        "elsewhere write `0.0.0.0:1935` and set `[access]`, or start with `--host 0.0.0.0`.",
    )
    handshake_timeout_s: float = Field(
        default=10,
        gt=0,
        description="How long a peer may take from connecting to publishing or playing. Lower frees "
        "connections held by scanners sooner; too low refuses encoders on slow links.",
    )
    idle_timeout_s: float = Field(
        default=30,
        gt=0,
        description="A publisher that sends nothing for this long has gone: its recording ends and the "
        "stream name is free again. Higher bridges longer network outages, and keeps the name "
        "taken for as long.",
    )
    max_connections: int = Field(
        default=2000,
        ge=1,
        description="Connections at a time; one more is refused at once. Each costs about 50 KB in the "
        "kernel, and a file descriptor of `ulimit -n`.",
    )
    max_message_bytes: ByteSize = Field(
        default=ByteSize(10 * 1024 * 1024),
        ge=64 * 1024,
        description="The largest message a peer may announce; a larger one ends its connection. It bounds "
        "the memory one peer can take. A key frame of 4K video at high rates may need several "
        "megabytes.",
    )
    publish_modes: bool = Field(
        default=True,
        description="Publishers may ask for a recording by how they publish, as with Flash Media Server: "
        "`record` replaces an older file of the stream's name, `append` and `appendWithGap` go on in it. It "
        "takes the place of the recording by `[record]`, and works with `[record] enabled` off too. Off: all "
        "publish like `live`, and nobody can replace a file by publishing.",
    )
    publish_modes_name: TemplateText = Field(
        default="{streamName}",
        description="The names of such files, as in `[record] name`. `{app}/streams/_definst_/{streamName}` "
        "lays them out as Flash Media Server does. With elements that differ each time, nothing is ever "
        "replaced or appended to.",
    )
    first_viewer_at_once: bool = Field(
        default=False,
        description="Keep the last group of pictures of each stream all the time, so that its first viewer "
        "sees it at once, over RTMP, WHEP or the WebSDK. It takes that much memory for each stream, and a "
        "tenth more CPU time. Off: kept from the first viewer on, who waits for the next key frame.",
    )


class TlsSettings(Section):
    """The certificate of every listener inside TLS; `aircheck cert` makes one to begin with."""

    cert: OptionalPath = Field(
        default=None,
        description="The certificate chain, PEM. Empty: nothing listens inside TLS.",
    )
    key: OptionalPath = Field(
        default=None,
        description="The private key of `cert`, PEM, without a passphrase. Whoever can read it can pose as "
        "this server.",
    )

    @model_validator(mode="after")
    def _is_a_pair(self) -> TlsSettings:
        return _with_pair(self)


class RtmpsSettings(Section):
    """RTMP inside TLS."""

    listen: AddressOrOff = Field(
        default=None,
        description="Address and port, usually `0.0.0.0:443` or `0.0.0.0:1936`. Empty: no RTMPS.",
    )
    cert: OptionalPath = Field(
        default=None, description="A certificate chain of its own, PEM. Empty: that of `[tls]`."
    )
    key: OptionalPath = Field(
        default=None, description="The private key of `cert`, PEM, without a passphrase."
    )

    @model_validator(mode="after")
    def _is_a_pair(self) -> RtmpsSettings:
        return _with_pair(self)


CertifiedSection = TypeVar("CertifiedSection", TlsSettings, RtmpsSettings)


def _with_pair(section: CertifiedSection) -> CertifiedSection:
    if (section.cert is None) != (section.key is None):
        raise ValueError("a certificate is of use only with its key: set both cert and key")
    return section


def _pair(section: TlsSettings | RtmpsSettings) -> tuple[Path, Path] | None:
    return None if section.cert is None or section.key is None else (section.cert, section.key)


class HttpSettings(Section):
    """The web page, the API, downloads and metrics."""

    listen: Address = Field(
        default=Listen("127.0.0.1", 8081),
        description="Address and port. Whoever reaches it may list and download every recording: "
        "put a proxy with authentication before it when it listens elsewhere than on this "
        "machine.",
    )
    disposition: Literal["inline", "attachment"] = Field(
        default="inline",
        description="What browsers do with the link of a recorded file: `inline` plays it, `attachment` "
        "saves it. A request may ask for the other by `?disposition=`.",
    )


class HttpsSettings(Section):
    """The web page, the API and downloads inside TLS."""

    listen: AddressOrOff = Field(
        default=Listen("127.0.0.1", 8444),
        description="Address and port, once `[tls]` has a certificate. Empty: no HTTPS. Clients of a "
        "Flashphoner WCS expect 8444.",
    )


class WcsSettings(Section):
    """The REST API of Flashphoner WCS, under `/rest-api` on the ports of `[http]` and `[https]`."""

    enabled: bool = Field(default=True, description="Off: `/rest-api` is not there.")
    allow_origin: str = Field(
        default="*",
        description="Pages that browsers let call it, as an origin such as `https://studio.example`. `*`, as "
        "clients of WCS expect it, are all pages: on a network with people on it, any page that one of them "
        "opens can stop recordings then. Empty: only pages of this server.",
    )
    node_id: str = Field(
        default="", description="What this server calls itself in answers; empty: the name of the machine."
    )


class WebRtcSettings(Section):
    """Publishers and viewers over WebRTC. Offers come in over HTTP, all media by one port."""

    listen: AddressOrOff = Field(
        default=Listen("127.0.0.1", 8189),
        description="Address and port of all WebRTC media, by UDP and by TCP. `0.0.0.0:8189` is reached from "
        "elsewhere, `[::]:8189` by IPv6 too. Answers list the addresses of the port. Empty: no WebRTC.",
    )
    public_addresses: tuple[str, ...] = Field(
        default=(),
        description="Addresses that clients reach the port by when this machine does not have them: behind "
        "NAT or in a container. They are listed in answers before its own; the port number must be the same.",
    )
    codecs: tuple[str, ...] = Field(
        default=("h264", "vp8", "vp9", "av1", "h265", "opus", "pcma", "pcmu"),
        description="What publishers may send, best first: of what a client offers, the first is taken. "
        "H.264 goes into MP4; a browser that offers it encodes it in hardware where it can.",
    )
    ice_servers: tuple[SecretStr, ...] = Field(
        default=(),
        description="STUN and TURN servers that clients of WHIP and WHEP are told of, such as "
        "`stun:stun.example.net` or `turn:user:password@turn.example.net:3478?transport=tcp`. Of use to "
        "clients whose networks let no UDP and no direct TCP through.",
    )
    start_bitrate_kbps: int = Field(
        default=1500,
        ge=0,
        description="Browsers begin with this bit rate of video, instead of some seconds of very small "
        "pictures. Too high for a link, it loses the first packets. 0: as the browser likes.",
    )
    max_peers: int = Field(
        default=1000,
        ge=1,
        description="Publishers and viewers at a time. Each costs some 200 KB once it is connected.",
    )
    connect_timeout_s: float = Field(
        default=15,
        gt=0,
        description="How long a peer may take from its answer to encrypted media. Its stream name is taken "
        "meanwhile.",
    )
    idle_timeout_s: float = Field(
        default=20,
        gt=0,
        description="A peer of which nothing at all is heard for this long has gone. Browsers send something "
        "every few seconds, whatever happens.",
    )
    media_timeout_s: float = Field(
        default=60,
        ge=0,
        description="A publisher that is there but sends no media for this long is let go. 0: never.",
    )

    @field_validator("ice_servers")
    @classmethod
    def _are_ice_servers(cls, servers: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for server in servers:
            IceServer.parse(server.get_secret_value())
        return servers

    @field_validator("public_addresses")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ip_address(address)
        return addresses

    @field_validator("codecs")
    @classmethod
    def _are_codecs(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        for name in codecs:
            if name not in CODEC_NAMES:
                raise ValueError(f"{name!r} is none of {', '.join(CODEC_NAMES)}")
        return codecs


class WebSdkSettings(Section):
    """Pages made with Flashphoner's WebSDK."""

    listen: AddressOrOff = Field(
        default=Listen("127.0.0.1", 8080),
        description="Address and port of the WebSocket for pages that came over http. The pages expect 8080. "
        "Empty: none.",
    )
    listen_tls: AddressOrOff = Field(
        default=Listen("127.0.0.1", 8443),
        description="The same inside TLS for pages that came over https, once `[tls]` has a certificate. The "
        "pages expect 8443. Empty: none.",
    )
    client2_dir: OptionalPath = Field(
        default=None,
        description="Your copy of the vendor's package, the folder with `flashphoner.js` and `examples`: it "
        "is served as `/client2/` on the HTTP ports. Its scripts then run with the rights of this server's "
        "own pages. Empty: not served.",
    )


Format = Literal["mp4", "mkv", "webm", "ts", "flv"]
PictureCodec = Literal["h264", "h265", "av1", "vp8", "vp9"]


class RecordSettings(Section):
    """What is recorded, where, and how safely."""

    enabled: bool = Field(
        default=True,
        description="Record every stream from its first packet. Off: only recordings asked for by a call.",
    )
    dir: Path = Field(
        default=Path("records"),
        description="Where finished recordings go. Relative to the folder the server is started in.",
    )
    tmp_dir: OptionalPath = Field(
        default=None,
        description="Where growing files live; empty: inside `dir`. On another file system each finished "
        "file is copied, so stopping costs time and I/O that grow with the recording.",
    )
    rtmp_streams: bool = Field(
        default=True,
        description="Record streams that come in by RTMP like all others. Off: they are recorded only where "
        "a call asks for it.",
    )
    name: TemplateText = Field(
        default="stream-{mediaSessionId}-{login}",
        description="Template of file names, with elements such as `{streamName}` or "
        "`{time:%Y%m%d-%H%M%S}`; a slash makes folders. Without an element that differs each "
        "time, names repeat and get a number appended.",
    )
    name_encoding: NameEncoding = Field(
        default=NameEncoding.PLAIN,
        description="`hex` or `base64` (URL-safe) keep names apart that a file system would not; people can"
        " no longer read them.",
    )
    name_exclude_characters: str = Field(
        default="/",
        description="Characters removed from names, for example `:.,/`. What is never safe goes in any case.",
    )
    format: Format = Field(
        default="mp4",
        description="The container. Each is playable at every instant while it grows, and standard after it. "
        "Video is never transcoded: what the container cannot hold goes into the nearest one that can, "
        "VP8 for `mp4` into `webm`, mostly into `mkv`, which holds all; log, catalogue and an event say so.",
    )
    formats: dict[PictureCodec, Format] = Field(
        default_factory=dict,
        description='Other containers for some codecs of pictures: `{ h264 = "ts", vp8 = "mkv" }`. A stream '
        "goes there if pictures and sound fit, where AAC fits once its sound is transcoded; else as `format` "
        "says.",
    )
    vp9_to_webm: bool = Field(
        default=True,
        description="With `format` `mp4`, VP9 goes to `webm`, where browsers and players expect it, unless"
        " its audio does not fit in there. Off: it goes to MP4.",
    )
    mp4_audio: Literal["opus_to_aac", "copy", "aac"] = Field(
        default="opus_to_aac",
        description="MP4 can hold AAC, Opus, MP3, FLAC and AC-3. `opus_to_aac` makes the Opus of browsers "
        "into AAC, which plays everywhere, at 1 to 2% of a core per stream, and copies the rest. `copy` puts "
        "Opus into MP4 as it comes too. `aac` makes everything into AAC. What a container cannot hold, as "
        "G.711 and Speex in MP4, is always transcoded.",
    )
    audio_sample_rate: int = Field(
        default=44_100,
        description="Of audio that is transcoded to AAC, in Hz. More than the source has costs CPU and bytes "
        "and sounds no better. Audio transcoded to Opus, for `webm`, has 48000 always.",
    )
    audio_channels: int = Field(
        default=2,
        ge=1,
        le=2,
        description="Of audio that is transcoded. 1 mixes stereo down; 2 puts mono on both channels.",
    )
    audio_bitrate_mode: int = Field(
        default=5,
        ge=0,
        le=5,
        description="Of audio that is transcoded: 0 is a constant bit rate of 128 kbit/s (stereo), 1 to 5 "
        "variable ones of about 40, 56, 72, 96 and 112 kbit/s. Mono takes half of that, and so do low "
        "sample rates.",
    )
    data: bool = Field(
        default=False,
        description="Keep the data messages of RTMP publishers (`onMetaData`, `onTextData`, `onCuePoint` and "
        "all others), at their times: as script tags in FLV, a timed metadata track in MP4, ID3 in MPEG-TS, "
        "WebVTT metadata in Matroska and WebM. Off: files have sound and pictures alone. Viewers get them "
        "either way.",
    )
    rotation: RotationText = Field(
        default=RotationRule(),
        description="Go on in a new file after `20` (seconds) or `20M` (megabytes), at the next key frame; "
        "empty or `disabled`: one file. Short files cost more rows, file names and finalizing.",
    )
    rotation_index: bool = Field(
        default=True,
        description="Append `_1`, `_2`, … to the files of a rotated recording. Off: names must differ by "
        "their template or get a number for being taken.",
    )
    rotation_aligned: bool = Field(
        default=False,
        description="End files when the wall clock passes a multiple of `rotation`, counted from midnight: "
        "with `3600` at each full hour. The first file of a recording is then shorter than the others.",
    )
    rotation_zone: ZoneText = Field(
        default=UTC,
        description="Whose midnight `rotation_aligned` counts from: `UTC`, `local` (of this machine), "
        "`+05:30` or `Europe/Paris`. It matters to rotations of more than an hour, or where clocks are not "
        "whole hours from UTC. A named zone follows summer time: of `86400`, the day of the change has 23 or "
        "25 hours.",
    )
    rotation_waits_for_keyframe: bool = Field(
        default=True,
        description="Files begin at key frames, so each can be played by itself and is late by up to one "
        "group of pictures. Off: files are cut on time, and begin with pictures that nobody can decode "
        "until the next key frame, except by joining the files.",
    )
    pre_roll_s: float = Field(
        default=0,
        ge=0,
        le=300,
        description="How far into the past a recording that is asked for later may begin, at a key frame. "
        "That much of every stream is then held in memory, at most 16 MiB of each, which also costs CPU.",
    )
    starts_on_keyframe: bool = Field(
        default=True,
        description="A recording that is asked for later begins with the next key frame, so that sound and "
        "picture begin together. Off: the sound begins at once, and the picture follows.",
    )
    max_duration_s: float = Field(
        default=0,
        ge=0,
        description="End a recording after so much media; 0: never. The stream itself goes on, unrecorded.",
    )
    reconnect_s: float = Field(
        default=0,
        ge=0,
        description="How long a recording waits for a publisher that was lost to come back under its name: "
        "it then goes on, with the hole written down as a gap. 0: each connection is a recording of its "
        "own. Until the time is over the last file stays unfinished, though it can be played.",
    )
    splits_at_reconnect: bool = Field(
        default=False,
        description="Go on in a new file after a reconnect, so that each file is without a hole.",
    )
    settle_s: float = Field(
        default=1,
        ge=0,
        le=30,
        description="How long a new stream may take to show both video and audio before its file begins. "
        "Longer keeps a late track from beginning a second file; the media waits in memory, and a crash "
        "meanwhile loses it.",
    )
    stop_timeout_s: float = Field(
        default=15,
        ge=0,
        le=600,
        description="How long a call that stops a recording waits for its final file. After that it answers "
        "that the file is still being finished, which files moved from a `tmp_dir` on another file system "
        "take their time for.",
    )
    on_conflict: Literal["free_number", "overwrite", "version", "append", "append_with_gap"] = Field(
        default="free_number",
        description="When another file has the name: `free_number` calls the new one `name_0001`, "
        "`version` renames the older one to `name_0`, `overwrite` replaces it, and what it held is lost. "
        "`append` goes on in it, in the record folder itself, its time from where it ended; "
        "`append_with_gap` leaves the time between open, up to 12 hours. A file that cannot go on (other "
        "tracks, not a recording of ours, in use) stays, and the new one is called `name_0001`.",
    )
    durability_interval_ms: int = Field(
        default=500,
        ge=50,
        description="How often files are forced to the disk. This is what a power cut can cost: media of "
        "the last interval. Shorter wears SSDs and slows shared disks; a crash of the server "
        "alone costs no more than a fragment whatever the value.",
    )
    queue_max_bytes: ByteSize = Field(
        default=ByteSize(16 * 1024 * 1024),
        ge=1024 * 1024,
        description="Media of one recording that may wait in memory for a slow disk. Beyond it the "
        "recording drops to the next key frame and writes the gap down; publishers are never "
        "slowed. 16 MiB is 50 s of 2.6 Mbit/s.",
    )
    min_free_bytes: ByteSize = Field(
        default=ByteSize(256 * 1024 * 1024),
        ge=0,
        description="The disk's reserve. With less room than this no recording is begun, and running files "
        "end cleanly until there is room again, 16 MB beside the reserve for each, which leaves a gap. "
        "Streams go on; their publishers are told. The disk of `dir` counts beside that of `tmp_dir`. 0 "
        "writes to the last byte: files stay sound, but the catalogue and whoever shares the disk run out of "
        "room too.",
    )
    reserve_kb: int = Field(
        default=256,
        ge=4,
        description="Space kept at the head of each MP4 for its final index, about 1 KB per second of "
        "media. Enough of it makes stopping instant on any file system and possible on a full "
        "disk; a file is never smaller.",
    )

    @model_validator(mode="after")
    def _grows_apart(self) -> RecordSettings:
        if self.tmp_dir is not None and self.tmp_dir.resolve() == self.dir.resolve():
            raise ValueError("tmp_dir is dir itself: finished files would be taken for growing ones")
        return self

    @field_validator("audio_sample_rate")
    @classmethod
    def _has_a_code(cls, sample_rate: int) -> int:
        if sample_rate not in aac.SAMPLE_RATES:
            raise ValueError(f"AAC knows {', '.join(map(str, sorted(aac.SAMPLE_RATES)))} Hz")
        return sample_rate

    @model_validator(mode="after")
    def _can_be_aligned(self) -> RecordSettings:
        if self.rotation_aligned and self.rotation.duration_ms is None:
            raise ValueError('rotation_aligned needs a rotation by time, such as rotation = "3600"')
        return self

    @property
    def growing_dir(self) -> Path:
        """Where files grow: hidden in the record folder unless a folder is given."""
        return self.tmp_dir if self.tmp_dir is not None else self.dir / HIDDEN_FOLDER / "growing"

    @property
    def own_folders(self) -> list[Path]:
        """Those in which no other server may write."""
        hidden = self.dir / HIDDEN_FOLDER
        return [hidden] if self.tmp_dir is None else [hidden, self.tmp_dir]


class ClipsSettings(Section):
    """Parts of recordings that were asked for by `?start=…&end=…`."""

    dir: OptionalPath = Field(
        default=None,
        description="Where clips are kept, as `NAME-s11-e60.mp4`, so that the same part need not be cut "
        "again. Empty: in the record folder, beside what they were cut from. They stay until somebody deletes"
        " them, also when the recording is gone; deleting them costs only the time to cut them again. On "
        "another disk cutting them does not take the recordings' space.",
    )


class HooksSettings(Section):
    """Scripts that are run for finished files."""

    on_record: OptionalPath = Field(
        default=None,
        description="Run for each finished file, also for those that a crash left: `$1` is the stream's "
        "name, `$2` the absolute path, and variables `AIRCHECK_…` tell the rest. Run at least once for each "
        "file, over crashes and restarts; recordings never wait for it. Empty: no hook, and files that are "
        "finished meanwhile never get one.",
    )
    on_multiple_record: OptionalPath = Field(
        default=None,
        description="The same for files that hold several streams: `$1` is the absolute path, `$2` when the "
        "file was begun, in ms since 1970, `$3` its duration in ms, `$4` the URI, `multi-recorder://NAME`.",
    )
    timeout_s: float = Field(
        default=600,
        gt=0,
        description="A script that runs longer is ended together with all that it has started, and is not "
        "run again for that file. Give it room to copy the largest file to the slowest place.",
    )
    max_parallel: int = Field(
        default=4,
        ge=1,
        le=256,
        description="Scripts at a time; further ones wait in the order of their files. More of them take "
        "CPU and disk from recordings; too few fall behind when many streams end at once.",
    )
    stop_timeout_s: float = Field(
        default=15,
        ge=0,
        description="How long the end of the server waits for scripts that run or wait. What is not done by "
        "then is ended, and run from its beginning after the next start.",
    )


class CatalogSettings(Section):
    """The database of streams, recordings and segments."""

    path: OptionalPath = Field(
        default=None,
        description="The SQLite file; empty: `aircheck.db` in the hidden folder `.aircheck` of the record "
        "folder. It must be on a local disk. It can be rebuilt from the recordings.",
    )


class AccessSettings(Section):
    """Who may publish. While all three are empty everybody may who reaches the port."""

    publish_users: dict[str, SecretStr] = Field(
        default_factory=dict,
        description='Logins and their passwords: `{ studio = "secret" }`. Encoders give them as `user` and '
        "`pass` in the URL or by their own authentication fields.",
    )
    adobe_challenge: bool = Field(
        default=False,
        description="Ask every publisher for a login of `publish_users` when it connects, as encoders with "
        "a user and a password field (OBS, FMLE) expect. Encoders that give credentials behind "
        "the stream key then fail.",
    )
    publish_tokens: tuple[SecretStr, ...] = Field(
        default=(),
        description="Tokens, any one of which lets publish: `?token=…` behind the URL or the stream name.",
    )
    publish_keys: tuple[SecretStr, ...] = Field(
        default=(),
        description="Stream keys: a stream whose name is one of these is accepted. The key then is the "
        "name, and stands in file names and logs.",
    )

    @property
    def is_open(self) -> bool:
        return not (self.publish_users or self.publish_tokens or self.publish_keys)


HookMethod = Literal[
    "connect",
    "ConnectionStatusEvent",
    "publishStream",
    "unPublishStream",
    "playStream",
    "stopStream",
    "StreamStatusEvent",
]


class BackendHooksSettings(Section):
    """A server of yours that is asked who may publish and play, and told what happens, as by Flashphoner WCS.

    The rules of `[access]` come first. Requests are `POST URL/publishStream` and so on, with JSON.
    """

    url: str = Field(
        default="",
        description="Where the methods are, such as `https://studio.example/hooks`. Empty: nobody is asked, "
        "but for applications in `urls`. Every publisher waits for its answers before it may begin.",
    )
    urls: dict[str, str] = Field(
        default_factory=dict,
        description='By application, in place of `url`: `{ live = "https://studio.example/live" }`. RTMP '
        "peers are of the application in their URL, or else of `flashStreamingApp`.",
    )
    secret: SecretStr = Field(
        default=SecretStr(""),
        description="The key of `Authorization: WCS …`, the HMAC-MD5 of the body, by which the backend tells "
        "this server from others. Empty: no signature. A login in the URL takes its place in that header.",
    )
    timeout_s: float = Field(
        default=15,
        gt=0,
        le=300,
        description="How long an answer may take. Peers wait for it; longer than an encoder's patience, and "
        "it comes back before it was answered.",
    )
    on_error: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="What happens to peers when the backend is down, late, or answers neither 200 nor 403. "
        "`refuse` lets nobody in unasked, and an outage of the backend then keeps new streams from being "
        "recorded; `allow` records them. A backend may say otherwise in its `restClientConfig`.",
    )
    methods: tuple[HookMethod, ...] = Field(
        default=get_args(HookMethod),
        description="Those that the backend has. `connect`, `publishStream` and `playStream` are asked, the "
        "others told; what is not asked is allowed.",
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return _http_url(url)

    @field_validator("urls")
    @classmethod
    def _are_http(cls, urls: dict[str, str]) -> dict[str, str]:
        return {app: _http_url(url) for app, url in urls.items()}

    @property
    def is_on(self) -> bool:
        return bool(self.url or self.urls)


def _http_url(url: str) -> str:
    if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
        raise ValueError(f'"{url}" is no URL; write for example "https://studio.example/hooks"')
    return url


class PumpSettings(Section):
    """How often sockets are read."""

    interval_ms: int = Field(
        default=400,
        ge=5,
        le=1000,
        description="Publishers that only recordings drain are read this often. Longer costs less CPU, and "
        "delays every byte by as much; what has not been read yet is lost when the server is killed.",
    )


class LogSettings(Section):
    """What the server says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least important line that is written. `debug` names every message of every peer.",
    )
    format: Literal["console", "logfmt", "json"] = Field(
        default="console",
        description="`console` is for people, in colour on a terminal; `logfmt` and `json` are for "
        "machines, one event a line.",
    )


class Settings(BaseSettings):
    """All settings of one server. Made by `load_settings`, handed down by value."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        env_nested_max_split=1,
        nested_model_default_partial_update=True,
    )

    rtmp: RtmpSettings = RtmpSettings()
    rtmps: RtmpsSettings = RtmpsSettings()
    http: HttpSettings = HttpSettings()
    https: HttpsSettings = HttpsSettings()
    tls: TlsSettings = TlsSettings()
    wcs: WcsSettings = WcsSettings()
    webrtc: WebRtcSettings = WebRtcSettings()
    websdk: WebSdkSettings = WebSdkSettings()
    record: RecordSettings = RecordSettings()
    clips: ClipsSettings = ClipsSettings()
    hooks: HooksSettings = HooksSettings()
    catalog: CatalogSettings = CatalogSettings()
    access: AccessSettings = AccessSettings()
    backend_hooks: BackendHooksSettings = BackendHooksSettings()
    pump: PumpSettings = PumpSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which comes in as keyword arguments."""
        return env_settings, init_settings

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """Certificate chain and key of what listens inside TLS; None: nothing does."""
        return _pair(self.tls)

    @property
    def rtmps_certificate(self) -> tuple[Path, Path] | None:
        return _pair(self.rtmps) or self.certificate

    @property
    def catalog_path(self) -> Path:
        return self.catalog.path or self.record.dir / HIDDEN_FOLDER / "aircheck.db"

    def with_host(self, host: str) -> Settings:
        """The same settings with every listener moved to `host`; their ports stay."""
        moved = {
            name: section.model_copy(update={"listen": Listen(host, section.listen.port)})
            for name, section in (
                ("rtmp", self.rtmp),
                ("rtmps", self.rtmps),
                ("http", self.http),
                ("https", self.https),
                ("webrtc", self.webrtc),
            )
            if section.listen is not None
        }
        websdk = {
            name: Listen(host, listen.port)
            for name, listen in (("listen", self.websdk.listen), ("listen_tls", self.websdk.listen_tls))
            if listen is not None
        }
        return self.model_copy(update={**moved, "websdk": self.websdk.model_copy(update=websdk)})
