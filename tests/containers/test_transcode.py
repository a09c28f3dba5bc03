"""Transcoded sound stays where it was, whatever came in."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from operator import is_not
from pathlib import Path
from typing import Any

import av
import pytest
from helpers import sound
from helpers.sound import SoundSpec, beeps_s, make_sound, samples_of

from aircheck.containers.audio_codecs import AudioTarget, can_decode
from aircheck.containers.transcode import MAX_FILL_S, AudioTranscoder
from aircheck.errors import ContainerError
from aircheck.media import aac, opus
from aircheck.media.packet import Packet
from aircheck.media.track import Codec, Kind, Track

MAX_SKEW_S = 0.002
AAC_44100 = AudioTarget()
SMALL = AudioTarget(sample_rate=11_025, channels=1)
"""Quick to encode."""
OPUS_48000 = AudioTarget(Codec.OPUS, 48_000)


def transcode(packets: Sequence[Packet], target: AudioTarget = AAC_44100) -> list[Packet]:
    transcoder = AudioTranscoder(packets[0].track, target)
    return transcoder.feed(packets) + transcoder.flush()


def duration_s(packets: Sequence[Packet], frame: int) -> float:
    return (packets[-1].pts + frame - packets[0].pts) / packets[0].track.timescale


def assert_contiguous(packets: Sequence[Packet], frame: int) -> None:
    steps = {after.pts - before.pts for before, after in pairwise(packets)}
    assert steps == {frame}


@pytest.mark.parametrize("target", [AAC_44100, SMALL, OPUS_48000], ids=["aac", "aac-11025", "opus"])
@pytest.mark.parametrize("spec", sound.ALL, ids=str)
def test_every_beep_is_where_it_was(spec: SoundSpec, target: AudioTarget, tmp_path: Path) -> None:
    source = make_sound(spec, tmp_path)
    packets = transcode(source.packets, target)
    before, after = beeps_s(source.packets), beeps_s(packets)
    assert len(before) == 3
    assert after == pytest.approx(before, abs=MAX_SKEW_S)
    frame = 960 if target.codec is Codec.OPUS else 1024
    assert_contiguous(packets, frame)
    assert 3 <= duration_s(packets, frame) < 3.3


def test_the_track_tells_a_player_all_it_needs(tmp_path: Path) -> None:
    source = make_sound(sound.PCMA, tmp_path, seconds=1)
    track = AudioTranscoder(source.track, AAC_44100).track
    assert (track.id, track.codec, track.timescale, track.channels) == (2, Codec.AAC, 44_100, 2)
    assert aac.parse_config(track.config).sample_rate == 44_100
    track = AudioTranscoder(source.track, AudioTarget(Codec.OPUS, 48_000, 1)).track
    assert opus.parse_head(track.config).channels == 1
    assert {packet.track.config for packet in transcode(source.packets)} == {
        AudioTranscoder(source.track, AAC_44100).track.config
    }


@pytest.mark.parametrize("mode", range(6))
def test_every_bitrate_mode_keeps_its_average(mode: int, tmp_path: Path) -> None:
    noise = make_sound(replace(sound.FLAC, sample_rate=44_100), tmp_path, level="0.2*(random(0)-0.5)")
    target = AudioTarget(bitrate_mode=mode)
    size_bytes = sum(len(packet.data) for packet in transcode(noise.packets, target))
    assert size_bytes * 8 / 3 == pytest.approx(target.bits_per_s, rel=0.1)


def test_mode_5_is_112_kbit_of_stereo() -> None:
    assert AAC_44100.bits_per_s == 112_000
    assert AudioTarget(bitrate_mode=0).bits_per_s == 128_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_rate": 44_000},
        {"channels": 3},
        {"bitrate_mode": 6},
        {"codec": Codec.OPUS, "sample_rate": 44_100},
        {"codec": Codec.SPEEX},
    ],
)
def test_what_cannot_be_encoded_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ContainerError, match="cannot be encoded"):
        replace(AAC_44100, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050])
def test_a_tone_at_a_low_rate_is_not_distorted(rate: int, tmp_path: Path) -> None:
    """Nearly all of the energy is still at 1000 Hz."""
    tone = make_sound(replace(sound.FLAC, sample_rate=rate, channels=1), tmp_path, level=sound.TONE)
    for target in (AAC_44100, replace(SMALL, sample_rate=rate)):
        assert _share_of_tone(transcode(tone.packets, target)) > 0.99


def test_mono_is_as_loud_on_two_channels(tmp_path: Path) -> None:
    tone = make_sound(replace(sound.FLAC, channels=1), tmp_path, level=sound.TONE)
    peak = max(_middle_second(transcode(tone.packets)))
    assert peak == pytest.approx(0.25, abs=0.02)


def _middle_second(packets: Sequence[Packet]) -> list[float]:
    rate = packets[0].track.sample_rate
    floats = [sample for _, _, samples in samples_of(packets) for sample in samples]
    return floats[rate : 2 * rate]


def _share_of_tone(packets: Sequence[Packet]) -> float:
    floats = _middle_second(packets)
    step = 2 * math.pi * 1000 / packets[0].track.sample_rate
    real = sum(sample * math.cos(step * i) for i, sample in enumerate(floats))
    imaginary = sum(sample * math.sin(step * i) for i, sample in enumerate(floats))
    energy = sum(sample * sample for sample in floats)
    return 2 * (real * real + imaginary * imaginary) / len(floats) / energy


# ------------------------------------------------------------------------------------------------ times


def g711(seconds: int, folder: Path) -> list[Packet]:
    """20 ms packets of G.711 with beeps; one second of it, again and again."""
    one = make_sound(sound.PCMA, folder, seconds=1)
    data = b"".join(bytes(packet.data) for packet in one.packets)
    return [
        Packet(one.track, start, start, True, data[start % 8000 : start % 8000 + 160])
        for start in range(0, seconds * 8000, 160)
    ]


def test_ten_minutes_with_loss_do_not_drift(tmp_path: Path) -> None:
    """Single packets are missing, and stretches of up to two seconds."""
    dice = random.Random(7)
    kept, skip_until = [], 0
    for packet in g711(600, tmp_path):
        if dice.random() < 0.002:
            skip_until = packet.pts + dice.randrange(160, 16_000, 160)
        if packet.pts >= skip_until and dice.random() > 0.01 and packet.pts < 597 * 8000:
            kept.append(packet)
    kept += g711(600, tmp_path)[-150:]
    packets = transcode(kept, SMALL)
    assert_contiguous(packets, 1024)
    assert duration_s(packets, 1024) == pytest.approx(600, abs=0.3)
    end = [packet for packet in packets if packet.pts > 596.5 * 11_025]
    assert beeps_s(end) == pytest.approx([597, 598, 599], abs=MAX_SKEW_S)


def test_opus_that_falls_silent_stays_in_step(tmp_path: Path) -> None:
    """Discontinuous transmission: a packet every 400 ms while there is nothing to hear."""
    source = make_sound(sound.OPUS_VOICE, tmp_path, seconds=10)
    kept = [p for i, p in enumerate(source.packets) if p.pts % 48_000 < 12_000 or i % 20 == 0]
    assert len(kept) < len(source.packets) / 2
    packets = transcode(kept)
    assert_contiguous(packets, 1024)
    assert beeps_s(packets)[-8:] == pytest.approx(beeps_s(source.packets)[-8:], abs=MAX_SKEW_S)


def test_empty_opus_frames_sound_as_silence(tmp_path: Path) -> None:
    source = make_sound(sound.OPUS_VOICE, tmp_path)
    silent = [
        replace(p, data=bytes(p.data)[:1]) if 0.2 < p.pts / 48_000 % 1 < 0.9 else p for p in source.packets
    ]
    transcoder = AudioTranscoder(source.track, AAC_44100)
    packets = transcoder.feed(silent) + transcoder.flush()
    assert transcoder.counters.failed_packets == 0
    assert_contiguous(packets, 1024)


def test_overlapping_packets_are_trimmed(tmp_path: Path) -> None:
    """The clock stands still for a moment: what would sound twice sounds once."""
    early = [
        replace(p, pts=p.pts - 4000, dts=p.dts - 4000) if p.pts >= 12_000 else p for p in g711(4, tmp_path)
    ]
    transcoder = AudioTranscoder(early[0].track, SMALL)
    packets = transcoder.feed(early) + transcoder.flush()
    assert transcoder.counters.trimmed_samples == pytest.approx(0.5 * 11_025, abs=2)
    assert_contiguous(packets, 1024)
    assert beeps_s(packets)[-2:] == pytest.approx([1.5, 2.5], abs=MAX_SKEW_S)


def test_times_that_go_far_back_lose_sound_but_never_order(tmp_path: Path) -> None:
    media = g711(4, tmp_path)
    back = [*media[:100], *media[:50], *media[100:]]
    packets = transcode(back, SMALL)
    assert_contiguous(packets, 1024)
    assert beeps_s(packets) == pytest.approx([0, 1, 2, 3], abs=MAX_SKEW_S)


def test_a_long_hole_stays_one(tmp_path: Path) -> None:
    media = g711(2, tmp_path)
    hole = (MAX_FILL_S + 5) * 8000
    late = [replace(p, pts=p.pts + hole, dts=p.dts + hole) if p.pts >= 8000 else p for p in media]
    transcoder = AudioTranscoder(media[0].track, SMALL)
    packets = transcoder.feed(late) + transcoder.flush()
    assert transcoder.counters.holes == 1
    assert transcoder.counters.filled_samples == 0
    assert len({id(packet.track) for packet in packets}) == 1
    assert beeps_s(packets) == pytest.approx([0, MAX_FILL_S + 6], abs=MAX_SKEW_S)


def test_a_millisecond_of_jitter_is_no_hole(tmp_path: Path) -> None:
    shaky = [replace(p, pts=p.pts + 8 * (-1) ** i) for i, p in enumerate(g711(2, tmp_path))]
    transcoder = AudioTranscoder(shaky[0].track, SMALL)
    transcoder.feed(shaky)
    assert transcoder.counters.filled_samples == 0
    assert transcoder.counters.trimmed_samples == 0


# ----------------------------------------------------------------------------------------------- faults


def test_corrupt_packets_are_counted_and_sound_as_silence(tmp_path: Path) -> None:
    source = make_sound(sound.AC3, tmp_path)
    broken = [replace(p, data=b"\xff" * 50) if 0.9 <= p.pts / 48_000 < 1.7 else p for p in source.packets]
    transcoder = AudioTranscoder(source.track, AAC_44100)
    packets = transcoder.feed(broken) + transcoder.flush()
    assert transcoder.counters.failed_packets == sum(map(is_not, broken, source.packets))
    assert_contiguous(packets, 1024)
    first, _, third = beeps_s(source.packets)
    assert beeps_s(packets) == pytest.approx([first, third], abs=MAX_SKEW_S)


def test_sound_that_is_no_number_does_not_end_the_encoder(tmp_path: Path) -> None:
    """A damaged float codec can decode to NaN, which the AAC encoder refuses."""

    class Damaged:
        def decode(self, packet: Any) -> list[Any]:
            frame: Any = av.AudioFrame("fltp", "stereo", 1024)
            for plane in frame.planes:
                plane.update(array("f", [math.nan] * 1024).tobytes())
            frame.sample_rate, frame.pts, frame.time_base = 44_100, packet.pts, packet.time_base
            return [frame]

    source = make_sound(replace(sound.AAC, sample_rate=44_100, channels=2), tmp_path)
    transcoder = AudioTranscoder(source.track, AAC_44100)
    packets = transcoder.feed(source.packets[:50])
    decoder, transcoder._decoder = transcoder._decoder, Damaged()
    packets += transcoder.feed(source.packets[50:60])
    transcoder._decoder = decoder
    packets += transcoder.feed(source.packets[60:]) + transcoder.flush()
    assert transcoder.counters.failed_frames
    assert all(before.pts < after.pts for before, after in pairwise(packets))
    assert beeps_s(packets)[-1] == pytest.approx(beeps_s(source.packets)[-1], abs=MAX_SKEW_S)


def test_a_track_that_nobody_can_decode_is_silent_but_there(tmp_path: Path) -> None:
    media = g711(2, tmp_path)
    nonsense = Track(2, Codec.FLAC, 8000, b"\1", sample_rate=8000, channels=1)
    transcoder = AudioTranscoder(nonsense, SMALL)
    packets = transcoder.feed([replace(p, track=nonsense) for p in media]) + transcoder.flush()
    assert transcoder.counters.failed_packets == len(media)
    assert duration_s(packets, 1024) == pytest.approx(2, abs=0.3)


def test_a_changed_source_goes_on_in_the_same_track(tmp_path: Path) -> None:
    first, second = make_sound(sound.MP3, tmp_path), make_sound(sound.MP3_11025, tmp_path)
    later = [replace(p, pts=p.pts + 3 * 11_025, dts=p.dts + 3 * 11_025) for p in second.packets]
    transcoder = AudioTranscoder(first.track, AAC_44100)
    packets = transcoder.feed([*first.packets, *later]) + transcoder.flush()
    assert_contiguous(packets, 1024)
    expected = beeps_s(first.packets) + [at_s + 3 for at_s in beeps_s(second.packets)]
    assert beeps_s(packets) == pytest.approx(expected, abs=MAX_SKEW_S)


def test_every_codec_of_sound_can_be_decoded() -> None:
    assert [codec for codec in Codec if codec.kind is Kind.AUDIO and not can_decode(codec)] == []
    assert not can_decode(Codec.H264)
