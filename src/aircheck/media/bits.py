"""Bits and bytes of a bitstream, bounds-checked: what is not there raises `BitstreamError`."""

from __future__ import annotations

from aircheck.media.packet import Payload

_MAX_LEADING_ZEROS = 32


class BitstreamError(ValueError):
    """Bytes from a peer that are not what their codec's specification says."""


class BitReader:
    """Reads bits, most significant first, and Exp-Golomb codes (ISO/IEC 14496-10, 9.1)."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: Payload) -> None:
        self._data = data
        self._position = 0
        self._end = len(data) * 8

    @property
    def bits_left(self) -> int:
        return self._end - self._position

    @property
    def position(self) -> int:
        """Bits read so far."""
        return self._position

    def read(self, count: int) -> int:
        """The next `count` bits as an unsigned number."""
        start = self._position
        end = start + count
        if end > self._end:
            raise BitstreamError(f"{count} bits wanted at bit {start} of {self._end}")
        self._position = end
        octets = self._data[start >> 3 : (end + 7) >> 3]
        return int.from_bytes(octets, "big") >> (-end & 7) & ((1 << count) - 1)

    def read_flag(self) -> bool:
        return self.read(1) == 1

    def skip(self, count: int) -> None:
        if count > self.bits_left:
            raise BitstreamError(f"{count} bits wanted at bit {self._position} of {self._end}")
        self._position += count

    def read_ue(self) -> int:
        """ue(v): an unsigned Exp-Golomb code."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > _MAX_LEADING_ZEROS:
                raise BitstreamError("an Exp-Golomb code has more than 32 leading zeros")
        return (1 << zeros) - 1 + self.read(zeros)

    def read_se(self) -> int:
        """se(v): a signed Exp-Golomb code."""
        code = self.read_ue()
        return (code + 1) >> 1 if code & 1 else -(code >> 1)


class ByteReader:
    """Takes fields off the front of a record."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: Payload) -> None:
        self._data = data
        self._position = 0

    @property
    def bytes_left(self) -> int:
        return len(self._data) - self._position

    def read(self, size_bytes: int) -> bytes:
        """The next `size_bytes` bytes."""
        start = self._position
        if size_bytes > len(self._data) - start:
            raise BitstreamError(f"{size_bytes} bytes wanted at byte {start} of {len(self._data)}")
        self._position = start + size_bytes
        return bytes(self._data[start : start + size_bytes])

    def read_uint(self, size_bytes: int) -> int:
        """The next bytes as a big-endian unsigned number."""
        return int.from_bytes(self.read(size_bytes), "big")


def unescape(nal_unit: Payload) -> bytes:
    """A NAL unit without its emulation prevention bytes: 00 00 03 becomes 00 00 (ISO/IEC 14496-10, 7.3.1)."""
    return bytes(nal_unit).replace(b"\0\0\3", b"\0\0")
