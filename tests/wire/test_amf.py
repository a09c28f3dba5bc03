from __future__ import annotations

import struct

import pytest

from aircheck.wire import amf
from aircheck.wire.amf_values import MAX_DEPTH
from aircheck.wire.errors import AmfError, LocalProtocolError


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


VALUES: dict[str, tuple[bytes, amf.AmfValue]] = {
    "number": (b"\x00" + struct.pack(">d", 1.5), 1.5),
    "true": (b"\x01\x01", True),
    "false": (b"\x01\x00", False),
    "string": (b"\x02" + text("live"), "live"),
    "object": (b"\x03" + text("app") + b"\x02" + text("live") + b"\0\0\x09", {"app": "live"}),
    "null": (b"\x05", None),
    "undefined": (b"\x06", amf.UNDEFINED),
    "ecma array": (b"\x08\0\0\0\x01" + text("a") + b"\x01\x01" + b"\0\0\x09", amf.EcmaArray(a=True)),
    "strict array": (b"\x0a\0\0\0\x02\x05\x01\x00", [None, False]),
    "date": (b"\x0b" + struct.pack(">dh", 1000.0, -60), amf.Date(1000.0, -60)),
    "long string": (b"\x0c" + struct.pack(">I", 70_000) + b"x" * 70_000, "x" * 70_000),
    "xml": (b"\x0f\0\0\0\x04<a/>", amf.XmlDocument("<a/>")),
    "typed object": (b"\x10" + text("C") + text("k") + b"\x05\0\0\x09", amf.TypedObject("C", {"k": None})),
}


@pytest.mark.parametrize("name", VALUES)
def test_every_amf0_value_is_read_and_written(name: str) -> None:
    data, value = VALUES[name]
    (parsed,) = amf.parse(data)
    assert parsed == value
    assert type(parsed) is type(value)
    assert amf.serialize(value) == data


AMF3_VALUES: dict[str, tuple[bytes, amf.AmfValue]] = {
    "undefined": (b"\x00", amf.UNDEFINED),
    "null": (b"\x01", None),
    "false": (b"\x02", False),
    "true": (b"\x03", True),
    "small integer": (b"\x04\x05", 5),
    "integer of four bytes": (b"\x04\x80\xc0\x80\x00", 0x200000),
    "negative integer": (b"\x04\xff\xff\xff\xff", -1),
    "double": (b"\x05" + struct.pack(">d", 2.5), 2.5),
    "string": (b"\x06\x09live", "live"),
    "xml document": (b"\x07\x09<a/>", amf.XmlDocument("<a/>")),
    "date": (b"\x08\x01" + struct.pack(">d", 7.0), amf.Date(7.0)),
    "dense array": (b"\x09\x05\x01\x04\x01\x04\x02", [1, 2]),
    "associative array": (b"\x09\x03\x03a\x04\x01\x01\x04\x02", amf.EcmaArray({"a": 1, "0": 2})),
    "dynamic object": (b"\x0a\x0b\x01\x03a\x04\x01\x01", {"a": 1}),
    "sealed typed object": (b"\x0a\x13\x03C\x03a\x04\x01", amf.TypedObject("C", {"a": 1})),
    "byte array": (b"\x0c\x07abc", b"abc"),
    "vector of int": (b"\x0d\x05\x00" + struct.pack(">ii", -1, 2), [-1, 2]),
    "vector of uint": (b"\x0e\x03\x00" + struct.pack(">I", 4), [4]),
    "vector of double": (b"\x0f\x03\x00" + struct.pack(">d", 0.5), [0.5]),
    "vector of objects": (b"\x10\x03\x00\x01\x04\x05", [5]),
    "dictionary": (b"\x11\x03\x00\x06\x03k\x04\x05", amf.EcmaArray(k=5)),
    "string reference": (b"\x09\x05\x01\x06\x05ab\x06\x00", ["ab", "ab"]),
    "object reference": (b"\x09\x05\x01\x0a\x0b\x01\x01\x0a\x02", [{}, {}]),
    "traits reference": (
        b"\x09\x05\x01\x0a\x13\x03C\x03a\x04\x01\x0a\x01\x04\x02",
        [amf.TypedObject("C", {"a": 1}), amf.TypedObject("C", {"a": 2})],
    ),
}


@pytest.mark.parametrize("name", AMF3_VALUES)
def test_amf0_switches_to_amf3_and_back(name: str) -> None:
    data, value = AMF3_VALUES[name]
    assert amf.parse(b"\x02" + text("x") + b"\x11" + data + b"\x01\x01") == ["x", value, True]


def test_a_reference_names_an_earlier_object() -> None:
    data = b"\x0a\0\0\0\x02" + b"\x03" + text("a") + b"\x01\x01\0\0\x09" + b"\x07\x00\x01"
    assert amf.parse(data) == [[{"a": True}, {"a": True}]]


def test_the_count_of_an_ecma_array_is_only_a_hint() -> None:
    data = b"\x08\xff\xff\xff\xff" + text("a") + b"\x05\0\0\x09"
    assert amf.parse(data) == [amf.EcmaArray(a=None)]


def test_bytes_that_are_no_utf8_do_not_end_a_stream() -> None:
    assert amf.parse(b"\x02\x00\x02\xff\xfe") == ["��"]


BROKEN = {
    "nothing behind the marker": b"\x00",
    "unknown marker": b"\x1f",
    "string cut short": b"\x02\x00\x05abc",
    "long string of 4 GiB": b"\x0c\xff\xff\xff\xffabc",
    "array of 4 billion": b"\x0a\xff\xff\xff\xff\x05",
    "object without end": b"\x03\x00\x01a\x05",
    "reference to nothing": b"\x07\x00\x00",
    "reference to itself": b"\x0a\0\0\0\x01\x07\x00\x00",
    "too deep": b"\x0a\0\0\0\x01" * (MAX_DEPTH + 1) + b"\x05",
    "AMF3 too deep": b"\x11" + b"\x09\x03\x01" * (MAX_DEPTH + 1) + b"\x01",
    "AMF3 unknown marker": b"\x11\x1f",
    "AMF3 array of 2^27": b"\x11\x09\xbf\xff\xff\xff\x01",
    "AMF3 string reference to nothing": b"\x11\x06\x00",
    "AMF3 object reference to nothing": b"\x11\x0a\x00",
    "AMF3 reference to itself": b"\x11\x09\x03\x01\x09\x00",
    "AMF3 traits reference to nothing": b"\x11\x0a\x01",
    "AMF3 externalizable": b"\x11\x0a\x07\x03C",
    "AMF3 vector cut short": b"\x11\x0d\x05\x00\x00",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_amf_is_refused(name: str) -> None:
    with pytest.raises(AmfError):
        amf.parse(BROKEN[name])


def test_references_cannot_expand_a_small_message_to_a_large_one() -> None:
    array = b"\x0a\0\0\0\x01\x02" + text("x" * 100)
    with pytest.raises(AmfError, match="expand to more than"):
        amf.parse(array + b"\x07\x00\x00" * 2000, max_bytes=100_000)


def test_references_cannot_nest_deeper_than_values() -> None:
    chain = b"".join(b"\x0a\0\0\0\x01\x07" + struct.pack(">H", i) for i in range(MAX_DEPTH + 1))
    with pytest.raises(AmfError, match="nested deeper"):
        amf.parse(b"\x0a\0\0\0\0" + chain)


def test_amf3_references_cannot_nest_deeper_than_values_either() -> None:
    count = MAX_DEPTH + 1
    arrays = b"".join(b"\x09\x03\x01\x09" + bytes((2 * i,)) for i in range(1, count))
    with pytest.raises(AmfError, match="nested deeper"):
        amf.parse(b"\x11\x09" + bytes((2 * count + 1,)) + b"\x01" + b"\x09\x01\x01" + arrays)


def test_amf3_references_cannot_expand_a_small_message_to_a_large_one() -> None:
    array_of_8001, string_of_340 = b"\x09\xfd\x03\x01", b"\x06\x85\x29" + b"x" * 340
    data = b"\x11" + array_of_8001 + string_of_340 + b"\x06\x00" * 8000
    with pytest.raises(AmfError, match="expand to more than"):
        amf.parse(data, max_bytes=100_000)


def test_amf_longer_than_allowed_is_refused_unread() -> None:
    with pytest.raises(AmfError, match="10 are allowed"):
        amf.parse(bytes(11), max_bytes=10)


def test_parse_one_stops_behind_the_value() -> None:
    data = b"\xff" + amf.serialize("@setDataFrame", 1.0)
    assert amf.parse_one(data, 1) == ("@setDataFrame", 17)


@pytest.mark.parametrize("value", [b"bytes", object(), {"k" * 70_000: None}])
def test_what_amf0_cannot_hold_is_our_fault(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        amf.serialize(value)  # type: ignore[arg-type]
