"""Sound of every codec, made by ffmpeg, with a beep of a tenth of a second in each; and where beeps are."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.codec.context import Flags2
from helpers.packets import VIDEO, batch, video

from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Codec, Track

BEEP = "if(lt(mod(t,1),0.1),0.25*cos(2*PI*1000*t),0)"
TONE = "0.25*cos(2*PI*1000*t)"

_LOUD = 0.08
_QUIET_S = 0.3
_WITH_CONFIG = frozenset((Codec.AAC, Codec.OPUS, Codec.FLAC))


@dataclass(frozen=True, slots=True)
class SoundSpec:
    codec: Codec
    encoder: str
    sample_rate: int
    channels: int
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.codec}-{self.sample_rate}-{self.channels}"


OPUS = SoundSpec(Codec.OPUS, "libopus", 48_000, 2, ("-b:a", "96k"))
OPUS_VOICE = SoundSpec(Codec.OPUS, "libopus", 48_000, 1, ("-application", "voip", "-b:a", "16k"))
PCMA = SoundSpec(Codec.PCMA, "pcm_alaw", 8_000, 1)
PCMU = SoundSpec(Codec.PCMU, "pcm_mulaw", 8_000, 1)
SPEEX = SoundSpec(Codec.SPEEX, "libspeex", 16_000, 1)
MP3 = SoundSpec(Codec.MP3, "libmp3lame", 44_100, 2)
MP3_11025 = SoundSpec(Codec.MP3, "libmp3lame", 11_025, 1)
FLAC = SoundSpec(Codec.FLAC, "flac", 48_000, 2)
AC3 = SoundSpec(Codec.AC3, "ac3", 48_000, 2)
AAC = SoundSpec(Codec.AAC, "aac", 48_000, 1)
ALL = (OPUS, OPUS_VOICE, PCMA, PCMU, SPEEX, MP3, MP3_11025, FLAC, AC3, AAC)


@dataclass(frozen=True, slots=True)
class Sound:
    track: Track
    packets: tuple[Packet, ...]


def make_sound(spec: SoundSpec, folder: Path, *, seconds: int = 3, level: str = BEEP) -> Sound:
    """Encoded sound with exact times: NUT counts in samples."""
    path = folder / f"{spec}-{seconds}.nut"
    source = f"aevalsrc='{level}':s={spec.sample_rate}:d={seconds}"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-ac", str(spec.channels)]
    subprocess.run([*command, "-c:a", spec.encoder, *spec.options, str(path)], check=True, timeout=60)
    with av.open(str(path)) as container:
        context: Any = container.streams[0].codec_context
        config = bytes(context.extradata or b"") if spec.codec in _WITH_CONFIG else b""
        track = Track(
            2,
            spec.codec,
            spec.sample_rate,
            config,
            sample_rate=spec.sample_rate,
            channels=spec.channels,
        )
        packets = [Packet(track, p.pts, p.pts, True, bytes(p)) for p in container.demux() if p.size]
    return Sound(track, tuple(packets))


def samples_of(packets: Sequence[Packet]) -> Iterable[tuple[int, int, memoryview]]:
    """First channel of every decoded frame, by libavcodec: pts in ticks of the track, rate, floats."""
    track = packets[0].track
    names = {Codec.PCMA: "pcm_alaw", Codec.PCMU: "pcm_mulaw"}
    decoder: Any = av.CodecContext.create(names.get(track.codec, track.codec.value), "r")
    decoder.sample_rate, decoder.layout = track.sample_rate, "mono" if track.channels == 1 else "stereo"
    decoder.extradata = track.config or None
    decoder.flags2 |= Flags2.skip_manual
    to_floats: Any = av.AudioResampler("fltp")
    for packet in packets:
        encoded: Any = av.Packet(packet.data)
        encoded.pts = packet.pts
        for frame in decoder.decode(encoded):
            for floats in to_floats.resample(frame):
                samples = memoryview(bytes(floats.planes[0])).cast("f")[: frame.samples]
                yield packet.pts, frame.sample_rate, samples


def beeps_s(packets: Sequence[Packet]) -> list[float]:
    """Where beeps begin, in seconds."""
    found: list[float] = []
    last_s = -_QUIET_S
    timescale = packets[0].track.timescale
    for pts, rate, samples in samples_of(packets):
        for index, sample in enumerate(samples):
            if abs(sample) >= _LOUD:
                at_s = pts / timescale + index / rate
                if at_s - last_s >= _QUIET_S:
                    found.append(at_s)
                last_s = at_s
    return found


G711 = Track(2, Codec.PCMA, 8000, sample_rate=8000, channels=1)


def g711_batches(
    seconds: int, folder: Path, *, has_video: bool = True, video_track: Track = VIDEO
) -> list[Batch]:
    """Batches of 200 ms: 25 pictures a second, a key frame in each, and 20 ms packets of G.711 with beeps."""
    one = make_sound(PCMA, folder, seconds=1)
    data = b"".join(bytes(packet.data) for packet in one.packets)
    found = []
    for start in range(0, seconds * 1000, 200):
        times = range(start, start + 200, 40) if has_video else range(0)
        pictures = [video(ms, key=ms % 1000 == 0, track=video_track) for ms in times]
        sounds = [
            Packet(G711, at, at, True, data[at % 8000 : at % 8000 + 160])
            for at in range(start * 8, start * 8 + 1600, 160)
        ]
        packets = sorted(pictures + sounds, key=lambda p: p.dts / p.track.timescale)
        found.append(batch(packets, changed=start == 0, arrival_ns=start * 1_000_000))
    return found
