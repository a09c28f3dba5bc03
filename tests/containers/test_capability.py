"""Containers and codecs: what is said to fit does, and there is always a container that will do."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.packets import AAC_LC_48K_STEREO, AVCC

from aircheck.containers.capability import Container, can_hold, nearest
from aircheck.containers.flv import FlvWriter
from aircheck.containers.matroska import MatroskaWriter, WebmWriter
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.mpegts import TsWriter
from aircheck.errors import ContainerError
from aircheck.media import opus
from aircheck.media.track import Codec, Kind, Track

WRITERS = {
    Container.MP4: Mp4Writer,
    Container.MKV: MatroskaWriter,
    Container.WEBM: WebmWriter,
    Container.TS: TsWriter,
    Container.FLV: FlvWriter,
}
# A real hvcC, 160x96; the others only have to be there.
HVCC = bytes.fromhex(
    "0101600000009000000000001ef000fcfdf8f800000f03a00001001840010c01ffff0160000003009000000300000300"
    "1e959409a10001002942010101600000030090000003000003001ea01420616595952930bc05a0200000030020000003"
    "0321a2000100064401c073c189"
)
CONFIGS = {
    Codec.H264: AVCC,
    Codec.H265: HVCC,
    Codec.AV1: bytes.fromhex("81000c000a0b00000004473d9fffbcfb44"),
    Codec.AAC: AAC_LC_48K_STEREO,
    Codec.OPUS: opus.build_head(2),
    Codec.FLAC: bytes.fromhex("1000100000000000000ac442f000000000") + bytes(17),
}


def track_of(codec: Codec) -> Track:
    rate = {Codec.PCMA: 8000, Codec.PCMU: 8000, Codec.SPEEX: 16000}.get(codec, 48000)
    if codec.kind is not Kind.AUDIO:
        return Track(0, codec, 1000, CONFIGS.get(codec, b""), 320, 180)
    return Track(0, codec, rate, CONFIGS.get(codec, b""), sample_rate=rate, channels=2)


@pytest.mark.parametrize("container", Container)
@pytest.mark.parametrize("codec", Codec)
def test_writer_takes_a_track_exactly_when_its_container_can_hold_it(
    container: Container, codec: Codec, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{container}"
    if can_hold(container, codec):
        WRITERS[container](path, [track_of(codec)], creation_ns=10**18).close()
    else:
        with pytest.raises(ContainerError, match="cannot hold"):
            WRITERS[container](path, [track_of(codec)], creation_ns=10**18)
        assert not path.exists()


@pytest.mark.parametrize("container", Container)
@pytest.mark.parametrize("codec", [codec for codec in Codec if codec.kind is not Kind.DATA])
def test_there_is_always_a_container_that_will_do(container: Container, codec: Codec) -> None:
    found = nearest(container, [codec, Codec.AMF0])
    assert can_hold(found, codec)
    assert (found is container) == can_hold(container, codec)


def test_what_is_wanted_is_kept_when_it_can_be() -> None:
    assert nearest(Container.MP4, [Codec.H264, Codec.AAC]) is Container.MP4
    assert nearest(Container.MP4, [Codec.H264, Codec.PCMA]) is Container.MKV
    assert nearest(Container.WEBM, [Codec.H264, Codec.OPUS]) is Container.MKV
    assert nearest(Container.TS, [Codec.AV1, Codec.AAC]) is Container.MP4
    assert nearest(Container.TS, [Codec.VP8, Codec.AAC]) is Container.MKV
    assert nearest(Container.FLV, []) is Container.FLV


def test_extensions_are_the_names() -> None:
    assert {container: writer.extension for container, writer in WRITERS.items()} == {
        container: container.value for container in Container
    }
