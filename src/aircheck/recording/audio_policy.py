"""Which sound a recording takes as it is, and what it wants the rest made into."""

from __future__ import annotations

from dataclasses import dataclass

from aircheck.containers.audio_codecs import AudioTarget
from aircheck.containers.capability import Container, can_hold
from aircheck.media import opus
from aircheck.media.track import Codec, Kind, Track
from aircheck.recording.plan import RecordingPlan

_SOUND = frozenset(codec for codec in Codec if codec.kind is Kind.AUDIO)


@dataclass(frozen=True, slots=True)
class AudioPolicy:
    """`kept` is copied; everything else is transcoded to `target`. Equal policies can share their work."""

    kept: frozenset[Codec]
    target: AudioTarget

    @classmethod
    def of(cls, plan: RecordingPlan) -> AudioPolicy:
        """Copied wherever the container can hold it, else AAC, or Opus where that is what it holds (WebM).

        Raises ContainerError for a sample rate or a number of channels that no encoder has.
        """
        audio, container = plan.audio, Container(plan.container)
        kept = frozenset(codec for codec in _SOUND if can_hold(container, codec))
        if container is Container.MP4 and not audio.copies_to_mp4:
            kept = frozenset((Codec.AAC,))
        if Codec.AAC in kept:
            return cls(kept, AudioTarget(Codec.AAC, audio.sample_rate, audio.channels, audio.bitrate_mode))
        return cls(kept, AudioTarget(Codec.OPUS, opus.SAMPLE_RATE, audio.channels, audio.bitrate_mode))

    def converts(self, track: Track) -> bool:
        return track.is_audio and track.codec not in self.kept
