"""Payloads without parameter sets, which MP4 puts into key frames and others may leave out."""

from __future__ import annotations

from collections.abc import Callable

from aircheck.media import h264, h265
from aircheck.media.bits import BitstreamError

_IS_SET: dict[str, Callable[[memoryview], bool]] = {
    "h264": lambda unit: h264.nal_unit_type(unit) in (h264.NAL_SPS, h264.NAL_PPS),
    "hevc": lambda unit: h265.nal_unit_type(unit) in (h265.NAL_VPS, h265.NAL_SPS, h265.NAL_PPS),
}
_IS_SET["h265"] = _IS_SET["hevc"]


def without_parameter_sets(codec: str, data: bytes) -> bytes:
    """The frame without them, if it is of H.264 or H.265 and made of NAL units behind their lengths."""
    is_set = _IS_SET.get(codec)
    if is_set is None:
        return data
    try:
        units = list(h264.split_nal_units(data))
    except BitstreamError:
        return data
    kept = [unit for unit in units if not is_set(unit)]
    return data if kept == units else h264.join_length_prefixed(kept)
