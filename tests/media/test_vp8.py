import pytest
from helpers.flv_media import encode
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media import vp8
from aircheck.media.bits import BitstreamError

CLIP = encode("libvpx", frames=3, size=(130, 98), container="matroska")


def test_a_key_frame_tells_the_size() -> None:
    assert vp8.parse_key_frame(CLIP.encoded[0].data) == (130, 98)


def test_key_frames_are_told_from_others() -> None:
    assert [vp8.is_keyframe(packet.data) for packet in CLIP.encoded] == [
        packet.is_keyframe for packet in CLIP.encoded
    ]
    with pytest.raises(BitstreamError):
        vp8.parse_key_frame(CLIP.encoded[1].data)


@given(st.binary(max_size=20))
def test_garbage_raises_nothing_else(data: bytes) -> None:
    try:
        width, height = vp8.parse_key_frame(data)
    except BitstreamError:
        return
    assert 0 < width < 1 << 14
    assert 0 < height < 1 << 14
