"""What a recording is asked to be: fixed when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from aircheck.containers.capability import Preferred
from aircheck.media.track import Codec
from aircheck.recording.naming import NameTemplate, OnConflict
from aircheck.recording.rotation import NEVER, RotationRule


class Mp4Audio(StrEnum):
    """Which sound is put into MP4 as it comes, of what MP4 can hold: AAC, Opus, MP3, FLAC, AC-3."""

    COPY = "copy"
    """All of it."""
    OPUS_TO_AAC = "opus_to_aac"
    """All but Opus, which many players and editors do not look for in MP4."""
    AAC = "aac"
    """AAC alone."""

    def takes(self, codec: Codec) -> bool:
        if self is Mp4Audio.AAC:
            return codec is Codec.AAC
        return self is Mp4Audio.COPY or codec is not Codec.OPUS


@dataclass(frozen=True, slots=True)
class AudioPlan:
    """What sound becomes that the container cannot hold. `bitrate_mode`: see `AudioTarget`."""

    sample_rate: int = 44_100
    channels: int = 2
    bitrate_mode: int = 5
    mp4: Mp4Audio = Mp4Audio.COPY


@dataclass(frozen=True, slots=True)
class RecordingPlan:
    """Settings of one recording. Folders are absolute.

    `container` is what is wanted: pictures that it cannot hold are put into the nearest one that can, and
    pictures that another one is `preferred` for into that, if it holds the sound too.
    `starts_on_keyframe`: off, one that joins a running stream has its sound from the first moment on, and
    pictures from the next key frame.
    `pre_roll_ms` begins that much in the past, at a key frame, as far as the stream's back buffer reaches.
    `keeps_data` keeps data messages (onMetaData, cue points, text) beside audio and video.
    `max_duration_ms` ends the recording after that much media. `reconnect_s` is how long it waits for a
    publisher that was lost to come back under the same name; `splits_at_reconnect` begins a new file
    then. `min_free_bytes` is the reserve of the disk: below it files are ended cleanly and none is begun.
    `queue_max_bytes` bounds the media that waits for a slow disk: beyond it the recording drops to the
    next key frame and writes the gap down. `late_tracks` is for how many tracks that turn up late there is
    room, beyond the few for which there always is: one more begins a new file. `settle_s` is how long a
    stream may take to show its second track.
    """

    record_dir: Path
    growing_dir: Path
    template: NameTemplate
    container: str = "mp4"
    preferred: Preferred = ()
    audio: AudioPlan = AudioPlan()
    rotation: RotationRule = NEVER
    has_rotation_index: bool = True
    keeps_data: bool = False
    starts_on_keyframe: bool = True
    pre_roll_ms: int = 0
    max_duration_ms: int | None = None
    reconnect_s: float = 0.0
    splits_at_reconnect: bool = False
    on_conflict: OnConflict = OnConflict.FREE_NUMBER
    queue_max_bytes: int = 16 * 1024 * 1024
    reserve_bytes: int = 256 * 1024
    late_tracks: int = 0
    settle_s: float = 1.0
    min_free_bytes: int = 16 * 1024 * 1024
