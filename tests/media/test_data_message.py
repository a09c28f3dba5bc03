import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media.data_message import json_of, read_message
from aircheck.wire import amf


def test_a_message_is_its_name_and_its_values_in_json() -> None:
    payload = amf.serialize(
        "onCuePoint",
        {
            "name": "advert",
            "time": 12.5,
            "count": 3,
            "isOn": True,
            "list": [1, "zwei", None],
            "inner": amf.EcmaArray(a=amf.UNDEFINED),
            "at": amf.Date(1_700_000_000_250.0),
        },
    )
    name, values = read_message(payload)
    assert name == "onCuePoint"
    assert json.loads(json_of(values)) == {
        "name": "advert",
        "time": 12.5,
        "count": 3,
        "isOn": True,
        "list": [1, "zwei", None],
        "inner": {"a": None},
        "at": "2023-11-14T22:13:20.250000+00:00",
    }


@pytest.mark.parametrize(
    ("values", "text"), [(("onFI",), "null"), (("a", 1), "1"), (("a", 1, "x\ny"), '[1,"x\\ny"]')]
)
def test_one_value_stands_alone_and_several_are_an_array(values: tuple[amf.AmfValue, ...], text: str) -> None:
    assert json_of(read_message(amf.serialize(*values))[1]) == text


def test_what_json_has_no_word_for_is_null() -> None:
    name, values = read_message(amf.serialize("a", float("nan"), amf.Date(1e300), amf.XmlDocument("<x/>")))
    assert (name, values) == ("a", [None, None, "<x/>"])


def test_a_message_that_breaks_off_keeps_what_came_before() -> None:
    whole = amf.serialize("onTextData", 7, {"text": "hello"})
    assert read_message(whole[:-4]) == ("onTextData", [7])
    assert read_message(b"\x11\x01") == ("", [])


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(payload: bytes) -> None:
    name, values = read_message(payload)
    assert isinstance(name, str)
    json.loads(json_of(values))


def test_values_nested_deeply_end_the_message() -> None:
    assert read_message(amf.serialize("a") + b"\x0a\0\0\0\1" * 50) == ("a", [])
