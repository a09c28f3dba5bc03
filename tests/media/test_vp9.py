import contextlib

import pytest
from helpers.bitstreams import config_of, damaged
from helpers.flv_media import encode
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media import vp9
from aircheck.media.bits import BitstreamError

CLIP = encode("libvpx-vp9", frames=3, size=(130, 98))


def test_a_key_frame_tells_the_size_and_the_format() -> None:
    header = vp9.parse_frame_header(CLIP.encoded[0].data)
    assert (header.width, header.height, header.profile, header.bit_depth) == (130, 98, 0, 8)
    assert header.chroma_subsampling == 1


def test_key_frames_are_told_from_others() -> None:
    assert [vp9.is_keyframe(packet.data) for packet in CLIP.encoded] == [
        packet.is_keyframe for packet in CLIP.encoded
    ]


def test_a_configuration_built_from_a_key_frame_is_the_one_libavformat_writes() -> None:
    built = vp9.build_config(vp9.parse_frame_header(CLIP.encoded[0].data))
    assert built == config_of("libvpx-vp9", (130, 98))


def test_the_header_of_a_full_box_is_taken_off_where_there_is_one() -> None:
    record = bytes((1, 10, 0x82, 2, 2, 2, 0, 0))
    assert vp9.strip_full_box_header(vp9.FULL_BOX_HEADER + record) == record
    assert vp9.strip_full_box_header(record) == record
    with pytest.raises(BitstreamError):
        vp9.strip_full_box_header(record[:7])


@given(st.binary(max_size=20) | damaged(CLIP.encoded[0].data[:20]))
def test_garbage_raises_nothing_else(data: bytes) -> None:
    with contextlib.suppress(BitstreamError):
        vp9.build_config(vp9.parse_frame_header(data))
