"""GStreamer's payloaders in their modes against our depacketizers; libavcodec judges the pictures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import pytest
from helpers.packets import new_stream
from helpers.rtp_media import FORMATS, Batches, Publication, SendTrack, SentFrame, line
from helpers.tools import requires

from aircheck.media import h264
from aircheck.media.track import Codec, Kind
from aircheck.wire.rtp.packet import RtpPacket

pytestmark = requires("gstreamer")

_FRAMES = 45
_H264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 bitrate=1500"

PIPELINES = [
    (Codec.VP8, "vp8enc deadline=1 keyframe-max-dist=15 target-bitrate=1500000 ! rtpvp8pay"),
    (Codec.VP8, "vp8enc deadline=1 keyframe-max-dist=15 ! rtpvp8pay picture-id-mode=15-bit"),
    (
        Codec.VP8,
        "vp8enc deadline=1 error-resilient=partitions token-partitions=4 ! rtpvp8pay picture-id-mode=7-bit",
    ),
    (Codec.VP9, "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=15 target-bitrate=1500000 ! rtpvp9pay"),
    (Codec.VP9, "vp9enc deadline=1 cpu-used=8 ! rtpvp9pay picture-id-mode=15-bit"),
    (Codec.H264, f"{_H264} ! rtph264pay config-interval=-1"),
    (Codec.H264, f"{_H264} ! rtph264pay config-interval=-1 aggregate-mode=zero-latency"),
    (
        Codec.H264,
        f"{_H264} sliced-threads=true ! rtph264pay config-interval=-1 aggregate-mode=max-stap",
    ),
    (
        Codec.H265,
        "x265enc tune=zerolatency speed-preset=ultrafast ! h265parse ! rtph265pay config-interval=-1",
    ),
]


def frames_of_pipeline(folder: Path, pipeline: str, payload_type: int) -> list[SentFrame]:
    """What a pipeline sends, framed by RFC 4571 in a file, as frames of equal timestamps."""
    path = folder / "sent.rtp"
    source = (
        f"videotestsrc num-buffers={_FRAMES} ! video/x-raw,format=I420,width=640,height=360,framerate=30/1"
    )
    command = f"{source} ! {pipeline} mtu=1200 pt={payload_type} ! rtpstreampay ! filesink location={path}"
    subprocess.run(["gst-launch-1.0", "-q", *command.split()], check=True, timeout=60, capture_output=True)
    data, position = path.read_bytes(), 0
    groups: dict[int, list[RtpPacket]] = {}
    while position < len(data):
        size = int.from_bytes(data[position : position + 2], "big")
        packet = RtpPacket.parse(data[position + 2 : position + 2 + size])
        groups.setdefault(packet.timestamp, []).append(packet)
        position += 2 + size
    return [SentFrame(at / 30, tuple(packets)) for at, packets in enumerate(groups.values())]


def decoded_frames(codec: Codec, seen: Batches) -> int:
    """Frames that a decoder makes of what came; errors raise."""
    packets = [packet for batch in seen.batches for packet in batch.packets]
    name = "hevc" if codec is Codec.H265 else codec.value
    decoder = av.CodecContext.create(name, "r")
    if packets[0].track.config and codec in (Codec.H264, Codec.H265):
        decoder.extradata = packets[0].track.config
    count = sum(len(decoder.decode(av.Packet(bytes(packet.data)))) for packet in packets)
    return count + len(decoder.decode(None))


@pytest.mark.parametrize(("codec", "pipeline"), PIPELINES)
def test_what_gstreamer_sends_is_decodable_frame_by_frame(
    codec: Codec, pipeline: str, tmp_path: Path
) -> None:
    frames = frames_of_pipeline(tmp_path, pipeline, FORMATS[codec].payload_type)
    assert len(frames) == _FRAMES
    assert max(len(frame.packets) for frame in frames) > 2, "frames are taken apart"
    publication, seen = Publication(new_stream(), [SendTrack(line("0", codec), frames)]), Batches()
    publication.stream.subscribe(seen)
    publication.run_to_end()
    assert sum(len(batch.packets) for batch in seen.batches) == _FRAMES
    assert decoded_frames(codec, seen) == _FRAMES
    assert {name: count for name, count in publication.publisher.notices().items() if count} == {}
    (track,) = publication.stream.tracks
    assert (track.kind, track.width, track.height) == (Kind.VIDEO, 640, 360)


def test_parameter_sets_stand_once_before_each_key_frame_and_nowhere_else(tmp_path: Path) -> None:
    frames = frames_of_pipeline(
        tmp_path, f"{_H264} ! rtph264pay config-interval=-1", FORMATS[Codec.H264].payload_type
    )
    publication, seen = Publication(new_stream(), [SendTrack(line("0", Codec.H264), frames)]), Batches()
    publication.stream.subscribe(seen)
    publication.run_to_end()
    assert any(packet.is_keyframe for batch in seen.batches for packet in batch.packets)
    for packet in (packet for batch in seen.batches for packet in batch.packets):
        kinds = [h264.nal_unit_type(unit) for unit in h264.split_nal_units(packet.data)]
        sets = [h264.NAL_SPS, h264.NAL_PPS] if packet.is_keyframe else []
        assert kinds[: len(sets)] == sets
        assert set(kinds[len(sets) :]) <= {h264.NAL_SLICE, h264.NAL_IDR, h264.NAL_SEI}
