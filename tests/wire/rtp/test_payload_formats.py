"""What a packetizer takes apart a depacketizer puts together, and nothing else makes it stumble."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aircheck.media import av1, h264
from aircheck.media.track import Codec
from aircheck.wire.rtp.errors import RtpError
from aircheck.wire.rtp.formats import DEPACKETIZERS, PACKETIZERS
from aircheck.wire.rtp.frames import FrameAssembler
from aircheck.wire.rtp.payload import MTU_BYTES
from aircheck.wire.rtp.reorder import ReorderBuffer
from aircheck.wire.rtp.vp9 import Vp9Depacketizer

VIDEO = (Codec.VP8, Codec.VP9, Codec.H264, Codec.H265, Codec.AV1)
SIZES = (1, 2, 3, 150, 1180, 1186, 1187, 1188, 1189, 2376, 5000, 70_000)
HEAD = bytes(12)


def make_frame(codec: Codec, chance: random.Random) -> bytes:
    """A frame of the codec's outer form; what is inside is noise. What stands at its beginning only, does."""

    def noise() -> bytes:
        return chance.randbytes(chance.choice(SIZES) + 2)

    match codec:
        case Codec.VP8 | Codec.VP9:
            return noise()
        case Codec.H264:
            kinds = [7] * chance.randint(0, 1) + [
                chance.choice((1, 5, 6, 8)) for _ in range(chance.randint(1, 5))
            ]
            return h264.join_length_prefixed([bytes((0x60 | kind,)) + noise() for kind in kinds])
        case Codec.H265:
            kinds = [32] * chance.randint(0, 1) + [
                chance.choice((1, 19, 33, 34, 39)) for _ in range(chance.randint(1, 5))
            ]
            return h264.join_length_prefixed([bytes((kind << 1, 1)) + noise() for kind in kinds])
        case _:
            kinds = [chance.choice((1, 3, 4, 5, 6)) for _ in range(chance.randint(1, 4))]
            return b"".join(make_obu(kind, noise(), chance.random() < 0.3) for kind in kinds)


def make_obu(kind: int, body: bytes, has_layer: bool) -> bytes:
    head = bytes((kind << 3 | 4 | 2, 0x08)) if has_layer else bytes((kind << 3 | 2,))
    return head + av1.write_leb128(len(body)) + body


def joined(codec: Codec, parts: Sequence[bytes]) -> bytes:
    is_nal = codec in (Codec.H264, Codec.H265)
    return h264.join_length_prefixed(list(parts)) if is_nal else b"".join(parts)


@pytest.mark.parametrize("codec", VIDEO)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=40)
def test_frames_survive_packetizing_and_depacketizing(codec: Codec, seed: int) -> None:
    chance = random.Random(seed)
    packetizer, depacketizer = PACKETIZERS[codec](), DEPACKETIZERS[codec]()
    for index in range(4):
        frame = make_frame(codec, chance)
        payloads = packetizer.packetize(frame, is_keyframe=index == 0)
        assert all(0 < len(payload) <= MTU_BYTES - 12 for payload in payloads)
        for payload in payloads:
            packet = HEAD + payload + b"padding"
            depacketizer.push(packet, 12, 12 + len(payload))
        assert joined(codec, depacketizer.finish()) == frame


@pytest.mark.parametrize("codec", VIDEO)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_only_whole_frames_survive_loss_reordering_and_duplicates(codec: Codec, seed: int) -> None:
    chance = random.Random(seed)
    packetizer = PACKETIZERS[codec]()
    frames = [make_frame(codec, chance) for _ in range(12)]
    sent: list[tuple[int, int, bool, bytes]] = []
    for index, frame in enumerate(frames):
        payloads = packetizer.packetize(frame, is_keyframe=index % 4 == 0)
        sent += [
            (len(sent) + at, index, at == len(payloads) - 1, payload) for at, payload in enumerate(payloads)
        ]
    kept = [one for one in sent[1:] if chance.random() > 0.03]
    kept += chance.sample(kept, len(kept) // 10)
    arrived = [sent[0], *sorted(kept, key=lambda one: one[0] + chance.random() * 6)]
    assembler = FrameAssembler(DEPACKETIZERS[codec]())
    buffer: ReorderBuffer[tuple[int, int, bool, bytes]] = ReorderBuffer()
    whole: dict[int, bytes] = {}
    ordered = [item for one in arrived for item in buffer.push(one[0] & 0xFFFF, one, 0.0)] + buffer.flush()
    for item in ordered:
        if item is None:
            assembler.lose()
            continue
        _, index, is_last, payload = item
        parts = assembler.push(index, is_last, HEAD + payload, 12, 12 + len(payload))
        if parts is not None:
            whole[index] = joined(codec, parts)
    assert all(frames[index] == frame for index, frame in whole.items())
    numbers = {number for number, _, _, _ in arrived}
    damaged = {index for number, index, _, _ in sent if number not in numbers}
    untouched = set(range(len(frames))) - damaged
    if codec not in (Codec.VP8, Codec.VP9):  # else a frame after a hole shows that it is whole
        untouched -= {index + 1 for index in damaged}
    assert untouched <= set(whole)


@pytest.mark.parametrize("codec", VIDEO)
@given(payloads=st.lists(st.binary(min_size=1, max_size=30), max_size=6))
@settings(max_examples=200)
def test_any_payload_is_taken_or_a_typed_error(codec: Codec, payloads: list[bytes]) -> None:
    depacketizer = DEPACKETIZERS[codec]()
    for payload in payloads:
        depacketizer.begins_frame(payload, 0, len(payload))
        try:
            depacketizer.push(payload, 0, len(payload))
        except RtpError:
            depacketizer.reset()
    try:
        parts = depacketizer.finish()
    except RtpError:
        return
    assert all(parts)


@pytest.mark.parametrize("codec", VIDEO)
@given(seed=st.integers(0, 2**32), at=st.integers(0, 40), value=st.integers(0, 255))
@settings(max_examples=60)
def test_damaged_payloads_raise_nothing_but_the_typed_error(
    codec: Codec, seed: int, at: int, value: int
) -> None:
    payloads = PACKETIZERS[codec]().packetize(make_frame(codec, random.Random(seed)), is_keyframe=True)
    assembler = FrameAssembler(DEPACKETIZERS[codec]())
    for index, payload in enumerate(payloads):
        damaged = bytearray(payload)
        damaged[at % len(damaged)] = value
        assembler.push(0, index == len(payloads) - 1, bytes(damaged), 0, len(damaged) - at % 3)


def test_a_timestamp_that_changes_before_the_marker_makes_a_bad_frame() -> None:
    """Chromium throws the rest of a frame away when a key frame is wanted, and leaves no hole."""
    assembler = FrameAssembler(DEPACKETIZERS[Codec.VP8]())
    assert assembler.push(1000, 0, b"\x10begins", 0, 7) is None
    assert assembler.push(1000, 0, b"\x00goes on", 0, 8) is None
    assert assembler.push(4000, 0x80, b"\x10key frame", 0, 10) == [b"key frame"]
    assert assembler.is_broken
    assert (assembler.bad_frames, assembler.truncated) == (1, 1)


def test_padding_is_no_part_of_a_frame() -> None:
    assembler = FrameAssembler(DEPACKETIZERS[Codec.VP8]())
    assembler.push(1000, 0, b"\x10one ", 0, 5)
    assert assembler.push(900, 0, b"", 0, 0) is None
    assert assembler.push(1000, 0x80, b"\x00two", 0, 4) == [b"one two"]
    assert not assembler.is_broken


def test_after_a_hole_a_frame_counts_only_where_it_begins() -> None:
    assembler = FrameAssembler(DEPACKETIZERS[Codec.H264]())
    assembler.push(1000, 0x80, b"\x41first", 0, 6)
    assembler.lose()
    assert assembler.push(2000, 0x80, b"\x65may have been second slice", 0, 26) is None
    assembler.lose()
    assembler.push(3000, 0, b"\x67parameters", 0, 11)
    assert assembler.push(3000, 0x80, b"\x65picture", 0, 8) == [b"\x67parameters", b"\x65picture"]


def test_the_layers_of_a_vp9_picture_become_one_superframe() -> None:
    """Two spatial layers; the second is told apart by its layer index."""
    depacketizer = Vp9Depacketizer()
    for payload in (
        b"\xac\x85\x01\x00\x00low",
        b"\xa8\x85\x01\x03\x00hi",
        b"\xa4\x85\x01\x03\x00gh",
    ):
        depacketizer.push(payload, 0, len(payload))
    marker = bytes((0xC0 | 3 << 3 | 1,))
    index = marker + (3).to_bytes(4, "little") + (4).to_bytes(4, "little") + marker
    assert depacketizer.finish() == [b"lowhigh" + index]
    assert not depacketizer.begins_frame(b"\xa8\x85\x01\x03\x00hi", 0, 7)
    assert depacketizer.begins_frame(b"\xac\x85\x01\x00\x00low", 0, 8)


def test_a_vp9_scalability_structure_is_passed_over() -> None:
    depacketizer = Vp9Depacketizer()
    structure = bytes((1 << 5 | 0x10 | 0x08,)) + bytes(8) + b"\x02" + b"\x04\x01" + b"\x00"
    payload = b"\x8e\x85\x01" + structure + b"frame"
    depacketizer.push(payload, 0, len(payload))
    assert depacketizer.finish() == [b"frame"]


def test_av1_temporal_delimiters_are_left_out_and_obus_get_sizes() -> None:
    depacketizer = DEPACKETIZERS[Codec.AV1]()
    payload = b"\x28" + b"\x01\x10" + b"\x30picture"
    depacketizer.push(payload, 0, len(payload))
    assert depacketizer.finish() == [b"\x32\x07picture"]
