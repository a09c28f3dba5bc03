"""Which sound a recording takes as it is, and what it wants the rest made into."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aircheck.containers.audio_codecs import AudioTarget
from aircheck.containers.capability import Container, Preferred, can_hold, nearest
from aircheck.media import opus
from aircheck.media.track import Codec, Track
from aircheck.recording.plan import AudioPlan, RecordingPlan


@dataclass(frozen=True, slots=True)
class AudioPolicy:
    """What is wanted of sound in this container. Recordings of equal policies can share their work."""

    container: Container
    audio: AudioPlan
    preferred: Preferred = ()

    @classmethod
    def of(cls, plan: RecordingPlan) -> AudioPolicy:
        return cls(Container(plan.container), plan.audio, plan.preferred)

    @property
    def target(self) -> AudioTarget:
        """AAC, or Opus where the container holds no AAC (WebM).

        Raises ContainerError for a sample rate or a number of channels that no encoder has.
        """
        audio = self.audio
        if can_hold(self.container, Codec.AAC):
            return AudioTarget(Codec.AAC, audio.sample_rate, audio.channels, audio.bitrate_mode)
        return AudioTarget(Codec.OPUS, opus.SAMPLE_RATE, audio.channels, audio.bitrate_mode)

    def converts(self, track: Track, beside: Iterable[Track]) -> bool:
        """Whether a track of sound is transcoded: copied wherever the container can hold it.

        Pictures `beside` it that the container does not take lead to another container, which then counts:
        to one that takes the sound as well. So do those that another one is preferred for, but where that one
        takes what sound is transcoded to, it stays.
        """
        pictures = [other.codec for other in beside if other.is_video]
        container = self._nearest(pictures)
        is_preferred = any(codec in pictures and one is container for codec, one in self.preferred)
        stays = container is self.container or (is_preferred and can_hold(container, self.target.codec))
        if not stays:
            container = self._nearest([*pictures, track.codec])
        if not can_hold(container, track.codec):
            return True
        return container is Container.MP4 and not self.audio.mp4.takes(track.codec)

    def _nearest(self, codecs: Iterable[Codec]) -> Container:
        return nearest(self.container, codecs, self.preferred)
