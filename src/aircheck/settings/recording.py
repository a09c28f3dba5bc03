"""What is recorded, how, and what happens with finished files."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Literal

from pydantic import ByteSize, Field, field_validator, model_validator

from aircheck.media import aac
from aircheck.recording.naming import NameEncoding
from aircheck.recording.rotation import RotationRule
from aircheck.settings.fields import OptionalPath, RotationText, Section, TemplateText, ZoneText

HIDDEN_FOLDER = ".aircheck"
"""In the record folder; no recording can be named like it, as names never begin with a dot."""

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
        "slowed, except one that sends faster than real time: it waits from half of this on. 16 MiB is "
        "50 s of 2.6 Mbit/s.",
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
