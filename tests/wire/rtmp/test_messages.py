from __future__ import annotations

from aircheck.wire import amf
from aircheck.wire.rtmp.messages import data_payload, parse_user_control, split_aggregate


def part(type_id: int, timestamp: int, payload: bytes, back_pointer: bool = True) -> bytes:
    head = bytes((type_id,)) + len(payload).to_bytes(3, "big") + (timestamp & 0xFFFFFF).to_bytes(3, "big")
    end = (11 + len(payload)).to_bytes(4, "big") if back_pointer else b""
    return head + bytes((timestamp >> 24,)) + bytes(3) + payload + end


def test_an_aggregate_is_split_and_its_time_rebased() -> None:
    meta = amf.serialize("@setDataFrame", "onMetaData", {})
    payload = part(8, 5000, b"a") + part(9, 5020, b"video") + part(18, 5021, meta)
    assert split_aggregate(payload, 100) == (
        [(8, 100, b"a"), (9, 120, b"video"), (18, 121, amf.serialize("onMetaData", {}))],
        True,
    )


def test_an_aggregates_time_may_wrap_and_use_its_upper_byte() -> None:
    payload = part(8, 0x01FFFFFF, b"a") + part(8, 0x02000009, b"b", back_pointer=False)
    assert split_aggregate(payload, 0xFFFFFFFE) == ([(8, 0xFFFFFFFE, b"a"), (8, 8, b"b")], True)


def test_what_is_whole_of_a_torn_aggregate_is_kept() -> None:
    payload = part(8, 0, b"a") + part(9, 1, b"video")[:-8]
    assert split_aggregate(payload, 0) == ([(8, 0, b"a")], False)
    assert split_aggregate(b"", 0) == ([], True)


def test_data_is_unwrapped_as_a_script_tag_holds_it() -> None:
    tag = amf.serialize("onMetaData", amf.EcmaArray(width=1280.0))
    assert data_payload(18, tag) == tag
    assert data_payload(18, amf.serialize("@setDataFrame") + tag) == tag
    assert data_payload(15, b"\0" + amf.serialize("@setDataFrame") + tag) == tag


def test_amf3_values_in_data_become_amf0() -> None:
    data = b"\0" + amf.serialize("onTextData") + b"\x11\x0a\x0b\x01\x05t\x6e"[:7] + b"\x04\x05\x01"
    assert amf.parse(data_payload(15, data)) == ["onTextData", {"tn": 5.0}]
    assert amf.parse(data_payload(15, b"\0\x11\x09\x03\x01\x0c\x05ab")) == [[amf.UNDEFINED]]


def test_data_that_cannot_be_read_stays_as_it_is() -> None:
    assert data_payload(15, b"\0\x1f\x1f") == b"\x1f\x1f"
    assert data_payload(18, b"\x1f") == b"\x1f"


def test_a_user_control_message_is_an_event_and_numbers() -> None:
    assert parse_user_control(b"\0\x03\0\0\0\x01\0\0\x0b\xb8") == (3, (1, 3000))
    assert parse_user_control(b"\0\x06\0\0") == (6, ())
    assert parse_user_control(b"\0") == (-1, ())
