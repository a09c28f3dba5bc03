"""flashphoner.properties: the settings of a Flashphoner WCS server, put into ours.

    imported = read_flashphoner_properties(Path("flashphoner.properties"), formats=("mp4", "webm"))
    imported.values      {"record": {"rotation": "20", "dir": "/records"}, "hooks": {…}}
    imported.warnings    what cannot be kept, and what happens instead
    imported.others      names of features that are no recorder's business

`values` stand where a TOML file's would. Only what the file says is in them: defaults stay ours. A value that
means nothing there is refused with its line, as one of ours would be.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aircheck.containers.capability import Container, nearest
from aircheck.errors import ConfigError
from aircheck.faces.wcs.java_properties import PropertiesSyntaxError, Property, parse_properties
from aircheck.media import aac
from aircheck.media.track import Codec
from aircheck.recording.naming import NameTemplate
from aircheck.recording.rotation import parse_rotation

Value = str | int | bool | dict[str, str]

_SWITCHES = {"true": True, "false": False}
_ENCODING = re.compile(r"true\s*,\s*(hex|base64)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,9}")

_BACKEND_TIMEOUT_MAX_S = 300

_NEEDS_NOTHING = {
    "record_audio_buffer_max_size": "start, end and duration of files are exact without a buffer",
    "file_recorder_thread_pool_max_size": "each disk has one writer thread, which is enough",
    "webm_java_writer_enable": "there is one writer of WebM",
    "webm_cluster_duration_limit": "the writer chooses when clusters go to the disk",
    "webm_cluster_size_limit": "the writer chooses when clusters go to the disk",
}
_HOOKS = {"on_record_hook_script": "on_record", "on_multiple_record_hook_script": "on_multiple_record"}
_AUDIO = {
    "record_audio_codec_sample_rate": ("audio_sample_rate", frozenset(aac.SAMPLE_RATES)),
    "record_audio_codec_channels": ("audio_channels", frozenset((1, 2))),
    "record_fdk_aac_bitrate_mode": ("audio_bitrate_mode", frozenset(range(6))),
}

KNOWN = frozenset(
    (
        *_NEEDS_NOTHING,
        *_AUDIO,
        "encode_record_name",
        "exclude_record_name_characters",
        "mp4_container_moov_first",
        "mp4_container_moov_first_reserve_space",
        "mp4_container_moov_reserved_space_size",
        "mp4_cutter_dir",
        "on_multiple_record_hook_script",
        "on_record_hook_script",
        "disable_rest_requests",
        "record_dir",
        "record_flash_published_streams",
        "record_formats",
        "record_h264_to_ts",
        "record_response_content_disposition_header_value",
        "record_rotation",
        "record_rotation_index_enabled",
        "record_rtsp_streams",
        "record_stop_timeout",
        "record_streams",
        "record_tmp_dir",
        "rest_hook_secret_key",
        "rest_hook_send_hash",
        "rest_request_timeout",
        "stream_record_policy",
        "stream_record_policy_template",
    )
)
"""Every property that has to do with recordings, and with the backend that lets peers in."""


@dataclass(frozen=True, slots=True)
class ImportedSettings:
    """`values`: table → key → value as the TOML file writes it. Warnings begin with `FILE:LINE: name:`."""

    values: Mapping[str, Mapping[str, Value]]
    warnings: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read_flashphoner_properties(path: Path, *, formats: Collection[str]) -> ImportedSettings:
    """Read and translate a file. `formats` are the containers that `[record] format` takes.

    Raises ConfigError with every value that cannot be meant, or when the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}", remedy="Give the path of a flashphoner.properties."
        ) from error
    try:
        properties = parse_properties(data)
    except PropertiesSyntaxError as error:
        raise ConfigError(
            f"{path}:{error.line}: {error}", remedy=r"Write a backslash itself as \\."
        ) from error
    return translate(properties, str(path), formats=formats)


def translate(properties: Collection[Property], file: str, *, formats: Collection[str]) -> ImportedSettings:
    """The settings that properties of that file stand for. Raises ConfigError."""
    source = _Source({each.name: each for each in properties}, file)
    target = _Target()
    _translate_what(source, target)
    _translate_containers(source, target, formats)
    _translate_audio(source, target)
    _translate_names(source, target)
    _translate_rotation(source, target)
    _translate_places(source, target)
    _translate_room(source, target)
    _translate_after(source, target)
    _translate_backend(source, target)
    for name, instead in _NEEDS_NOTHING.items():
        if name in source:
            source.warn(name, f"not needed: {instead}")
    if source.problems:
        raise ConfigError("\n".join(source.problems), remedy="Correct them, or take the lines out.")
    return ImportedSettings(target.tables, tuple(source.warnings), tuple(source.others()))


@dataclass(slots=True)
class _Target:
    tables: dict[str, dict[str, Value]] = field(default_factory=dict)

    def set(self, table: str, key: str, value: Value) -> None:
        self.tables.setdefault(table, {})[key] = value


@dataclass(slots=True)
class _Source:
    """Values by name and kind; None for what is not there or not meant, which is kept as a problem."""

    properties: Mapping[str, Property]
    file: str
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __contains__(self, name: str) -> bool:
        return name in self.properties

    def raw(self, name: str) -> str | None:
        found = self.properties.get(name)
        return None if found is None else found.value

    def text(self, name: str) -> str | None:
        """Without blanks around it, and None when nothing is left."""
        return (self.raw(name) or "").strip() or None

    def switch(self, name: str) -> bool | None:
        value = self.text(name)
        if value is None:
            return None
        if value.lower() not in _SWITCHES:
            self.refuse(name, f'"{value}" is neither true nor false')
        return _SWITCHES.get(value.lower())

    def number(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        if _NUMBER.fullmatch(value) is None:
            self.refuse(name, f'"{value}" is no whole number')
            return None
        return int(value)

    def refuse(self, name: str, why: str) -> None:
        self.problems.append(f"{self._place(name)}: {why}")

    def warn(self, name: str, what_happens: str) -> None:
        self.warnings.append(f"{self._place(name)}: {what_happens}")

    def others(self) -> Iterator[str]:
        return (name for name in self.properties if name not in KNOWN)

    def _place(self, name: str) -> str:
        return f"{self.file}:{self.properties[name].line}: {name}"


def _translate_what(source: _Source, target: _Target) -> None:
    switches = {"record_streams": "enabled", "record_flash_published_streams": "rtmp_streams"}
    for name, key in switches.items():
        is_on = source.switch(name)
        if is_on is not None:
            target.set("record", key, is_on)
    if source.switch("record_rtsp_streams") is False:
        source.warn("record_rtsp_streams", "streams of cameras are recorded like all others")


def _translate_containers(source: _Source, target: _Target, formats: Collection[str]) -> None:
    wanted = {}
    for pair in filter(None, (source.text("record_formats") or "").split(",")):
        codec, dash, container = pair.strip().partition("-")
        if not dash:
            source.refuse("record_formats", f'"{pair}" is not CODEC-CONTAINER, such as h264-mp4')
        wanted[codec.lower()] = (container.lower(), "record_formats")
    if source.switch("record_h264_to_ts"):
        wanted["h264"] = ("ts", "record_h264_to_ts")
    main, said_by = wanted.get("h264", ("mp4", ""))
    taken = main if main in formats else "mp4"
    if said_by:
        target.set("record", "format", taken)
        # So it is there, whatever becomes of H.264.
        wanted.setdefault("vp8", ("webm", said_by))
    others: dict[str, str] = {}
    for codec, (container, name) in wanted.items():
        actual = _nearest(taken, codec, container if container in formats else taken)
        if actual != _nearest(taken, codec, taken):
            others[codec] = actual
        if container and container != actual:
            source.warn(name, f"{codec} is recorded to {actual}, not to {container}")
    if others:
        target.set("record", "formats", others)


def _nearest(container: str, codec: str, preferred: str) -> str:
    """The container that the recorder takes for pictures of that codec when one is preferred for them."""
    try:
        pictures = Codec(codec)
        return nearest(Container(container), [pictures], ((pictures, Container(preferred)),)).value
    except ValueError:
        return container


def _translate_audio(source: _Source, target: _Target) -> None:
    for name, (key, possible) in _AUDIO.items():
        value = source.number(name)
        if value is None:
            continue
        if value in possible:
            target.set("record", key, value)
        else:
            source.refuse(name, f'"{value}" is none of {", ".join(map(str, sorted(possible)))}')


def _translate_names(source: _Source, target: _Target) -> None:
    excluded = source.raw("exclude_record_name_characters")
    if excluded is not None:
        target.set("record", "name_exclude_characters", excluded)
    template = _template(source, excluded if excluded is not None else "/")
    if template is not None:
        target.set("record", "name", template)
    encoding = source.text("encode_record_name")
    if encoding is not None and encoding.lower() != "false":
        match = _ENCODING.fullmatch(encoding)
        if match is None:
            source.refuse("encode_record_name", f'"{encoding}" is not false, true,HEX or true,BASE64')
        else:
            target.set("record", "name_encoding", match[1].lower())
            if match[1].lower() == "base64":
                source.warn("encode_record_name", "the alphabet is URL-safe: - and _ stand for + and /")


def _template(source: _Source, excluded: str) -> str | None:
    policy = source.text("stream_record_policy")
    if policy == "streamName":
        return "{streamName}"
    if policy not in (None, "template"):
        source.refuse("stream_record_policy", f'"{policy}" is neither streamName nor template')
    name = "stream_record_policy_template"
    template = source.text(name)
    if template is None:
        return None
    if "/" in template and "/" in excluded:
        source.warn(name, "its slashes are left out, as exclude_record_name_characters has it")
        template = template.replace("/", "")
    elif "/" in template:
        source.warn(name, "its slashes make folders")
    try:
        NameTemplate.parse(template)
    except ConfigError as error:
        source.refuse(name, f"{error.message}. {error.remedy}")
    return template


def _translate_rotation(source: _Source, target: _Target) -> None:
    rotation = source.text("record_rotation")
    if rotation is not None:
        try:
            parse_rotation(rotation)
        except ValueError as error:
            source.refuse("record_rotation", str(error))
        target.set("record", "rotation", rotation)
    is_numbered = source.switch("record_rotation_index_enabled")
    if is_numbered is not None:
        target.set("record", "rotation_index", is_numbered)


def _translate_places(source: _Source, target: _Target) -> None:
    folder, growing = source.text("record_dir"), source.text("record_tmp_dir")
    if folder is not None:
        target.set("record", "dir", folder)
        if not Path(folder).is_absolute():
            source.warn("record_dir", "it is looked for in the folder that the server is started in")
    clips = source.text("mp4_cutter_dir")
    if clips is not None and Path(clips).resolve() != Path(folder or "records").resolve():
        target.set("clips", "dir", clips)
    if growing is None:
        return
    if Path(growing).resolve() == Path(folder or "records").resolve():
        source.warn("record_tmp_dir", "files grow in a hidden folder of record_dir")
    else:
        target.set("record", "tmp_dir", growing)


def _translate_room(source: _Source, target: _Target) -> None:
    if source.switch("mp4_container_moov_first") is False:
        source.warn("mp4_container_moov_first", "moov always comes first; it costs nothing here")
    room_kb = source.number("mp4_container_moov_reserved_space_size")
    if source.switch("mp4_container_moov_first_reserve_space"):
        target.set("record", "reserve_kb", max(4, 2048 if room_kb is None else room_kb))


def _translate_after(source: _Source, target: _Target) -> None:
    for hook, setting in _HOOKS.items():
        script = source.text(hook)
        if script is not None:
            target.set("hooks", setting, script)
            if not Path(script).is_file():
                source.warn(hook, "there is no such file; finished files wait for it")
    stop_timeout_s = source.number("record_stop_timeout")
    if stop_timeout_s is not None:
        target.set("record", "stop_timeout_s", stop_timeout_s)
    name = "record_response_content_disposition_header_value"
    disposition = source.text(name)
    if disposition is None:
        return
    if disposition.lower() not in ("inline", "attachment"):
        source.refuse(name, f'"{disposition}" is neither inline nor attachment')
    target.set("http", "disposition", disposition.lower())


def _translate_backend(source: _Source, target: _Target) -> None:
    """REST hooks. Where they go is kept in WCS's own database, not in this file."""
    names = ("rest_hook_secret_key", "rest_hook_send_hash", "rest_request_timeout")
    said = [name for name in names if name in source]
    is_off = source.switch("disable_rest_requests")
    if is_off:
        source.warn("disable_rest_requests", "nobody is asked as long as [backend_hooks] has no url")
    elif said:
        source.warn(said[0], "the address of the backend is not in this file: set [backend_hooks] url")
    secret = source.text("rest_hook_secret_key")
    if source.switch("rest_hook_send_hash") and secret is not None:
        target.set("backend_hooks", "secret", secret)
    timeout_s = source.number("rest_request_timeout")
    if timeout_s == 0 or (timeout_s or 0) > _BACKEND_TIMEOUT_MAX_S:
        source.warn("rest_request_timeout", f"answers are waited for {_BACKEND_TIMEOUT_MAX_S} s at the most")
    if timeout_s is not None:
        target.set(
            "backend_hooks", "timeout_s", min(timeout_s or _BACKEND_TIMEOUT_MAX_S, _BACKEND_TIMEOUT_MAX_S)
        )
