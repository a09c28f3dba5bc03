"""Streams of packets made by hand: small, with known times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from aircheck.facts import StreamFacts
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch, Packet
from aircheck.media.track import Codec, Track

# A real avcC (Baseline, 320x180) and AudioSpecificConfig, so that containers can describe the tracks.
AVCC = bytes.fromhex("0142c00dffe1001a6742c00ddb0141fb016a020202800001f4000075300078a15500000468ce3c80")
AAC_LC_48K_STEREO = bytes.fromhex("1190")

VIDEO = Track(1, Codec.H264, 1000, config=AVCC, width=320, height=180)
AUDIO = Track(2, Codec.AAC, 48000, config=AAC_LC_48K_STEREO, sample_rate=48000, channels=2)


def stream_facts(name: str = "cam", app: str = "live", stream_id: str = "session-1") -> StreamFacts:
    return StreamFacts(
        id=stream_id, name=name, app=app, session_id="s1", protocol="rtmp", remote_address="127.0.0.1:1"
    )


def new_stream(name: str = "cam") -> Stream:
    return Stream(stream_facts(name))


def video(ms: int, *, key: bool = False, track: Track = VIDEO, size: int = 200) -> Packet:
    return Packet(track, ms, ms, key, ms.to_bytes(8, "big", signed=True) + bytes(size - 8))


def audio(samples: int, *, track: Track = AUDIO, size: int = 40) -> Packet:
    return Packet(track, samples, samples, True, samples.to_bytes(8, "big", signed=True) + bytes(size - 8))


def carrying(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same with key frames that carry their parameter sets, as those of browsers do."""
    for one in batches:
        packets = [
            replace(p, data=_PARAMETER_SETS + _framed(b"\x65" + bytes(p.data)))
            if p.track.is_video and p.is_keyframe
            else p
            for p in one.packets
        ]
        yield replace(one, packets=packets, size_bytes=sum(len(packet.data) for packet in packets))


def _framed(unit: bytes) -> bytes:
    return len(unit).to_bytes(4, "big") + unit


_PARAMETER_SETS = _framed(AVCC[8:33]) + _framed(AVCC[-4:])


def batch(packets: list[Packet], *, changed: bool = False, arrival_ns: int = 1_000_000_000) -> Batch:
    return Batch(
        packets,
        arrival_ns,
        sum(len(packet.data) for packet in packets),
        tracks_changed=changed,
        has_video_keyframe=any(packet.track.is_video and packet.is_keyframe for packet in packets),
    )


def av_batches(
    duration_ms: int,
    *,
    frame_ms: int = 40,
    gop_ms: int = 1000,
    batch_ms: int = 200,
    start_ms: int = 0,
    video_track: Track | None = VIDEO,
    audio_track: Track | None = AUDIO,
) -> Iterator[Batch]:
    """Video at a constant rate and AAC at 48 kHz, interleaved by time, in batches as the pump makes them."""
    packets: list[Packet] = []
    if video_track is not None:
        packets += [
            video(ms, key=(ms - start_ms) % gop_ms == 0, track=video_track)
            for ms in range(start_ms, start_ms + duration_ms, frame_ms)
        ]
    if audio_track is not None:
        first, last = start_ms * 48, (start_ms + duration_ms) * 48
        packets += [audio(samples, track=audio_track) for samples in range(first, last, 1024)]
    packets.sort(key=lambda packet: packet.dts * 1000 / packet.track.timescale)
    pending: list[Packet] = []
    until_ms = start_ms + batch_ms
    is_first = True
    for packet in packets:
        if packet.dts * 1000 // packet.track.timescale >= until_ms and pending:
            yield batch(pending, changed=is_first, arrival_ns=until_ms * 1_000_000)
            pending, is_first = [], False
            until_ms += batch_ms
        pending.append(packet)
    if pending:
        yield batch(pending, changed=is_first, arrival_ns=until_ms * 1_000_000)
