"""Java's properties syntax, case by case as `java.util.Properties.load` documents it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.faces.wcs.java_properties import PropertiesSyntaxError, parse_properties


def read(text: str | bytes) -> dict[str, str]:
    data = text if isinstance(text, bytes) else text.encode()
    return {each.name: each.value for each in parse_properties(data)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", {"a": "b"}),
        ("a:b", {"a": "b"}),
        ("a b", {"a": "b"}),
        ("a\tb", {"a": "b"}),
        ("  a \t= \f b", {"a": "b"}),
        ("a : b = c", {"a": "b = c"}),
        ("a  = = b", {"a": "= b"}),
        ("a==b", {"a": "=b"}),
        ("a=b  ", {"a": "b  "}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("=b", {"": "b"}),
        (r"a\ b\:c\=d = e", {"a b:c=d": "e"}),
        (r"path=C:\\dir", {"path": r"C:\dir"}),
        (r"a=\t\n\r\f\q\"", {"a": '\t\n\r\fq"'}),
        (r"a=\u00e4\u20AC", {"a": "ä€"}),
        (r"a=\ud83d\ude00", {"a": "😀"}),
        (r"a=\ud83d", {"a": "\ufffd"}),
        (r"\u0061=b", {"a": "b"}),
        (r"a=b\u003dc", {"a": "b=c"}),
        ("# a=b\n! c=d\n  # e=f\n", {}),
        ("a=b # c", {"a": "b # c"}),
        ("# a \\\nb=c", {"b": "c"}),
        ("a=b, \\\n    c", {"a": "b, c"}),
        ("a=b\\\n\\\nc", {"a": "bc"}),
        ("a=b\\\n# c", {"a": "b# c"}),
        ("a=b\\\n\nc=d", {"a": "b", "c": "d"}),
        ("a=b\\\\\nc=d", {"a": "b\\", "c": "d"}),
        ("a=b\\\\\\\nc=d", {"a": "b\\c=d"}),
        ("a=b\\", {"a": "b"}),
        ("a\\\n b=c", {"ab": "c"}),
        ("a=1\r\nb=2\rc=3\n\n\nd=4", {"a": "1", "b": "2", "c": "3", "d": "4"}),
        ("a=1\\\r\n  2", {"a": "12"}),
        ("a=1\na=2", {"a": "2"}),
        ("", {}),
        ("a=\u2028b", {"a": "\u2028b"}),
    ],
)
def test_it_is_read_as_java_reads_it(text: str, expected: dict[str, str]) -> None:
    assert read(text) == expected


def test_both_encodings_are_read() -> None:
    assert read("name=Übung".encode()) == {"name": "Übung"}
    assert read("name=Übung".encode("latin-1")) == {"name": "Übung"}
    assert read(b"\xef\xbb\xbfname=x") == {"name": "x"}


def test_lines_are_counted_where_properties_begin() -> None:
    found = parse_properties(b"# one\n\na=1\\\n 2\r\nb=3\n")
    assert [(each.name, each.line) for each in found] == [("a", 3), ("b", 5)]


@pytest.mark.parametrize("text", [r"a=\u12", r"a=\uXYZW", r"x=1" "\n" r"a=\u"])
def test_a_broken_escape_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(PropertiesSyntaxError, match="four hexadecimal") as refused:
        read(text)
    assert refused.value.line == text.count("\n") + 1


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), st.text(), max_size=4))
def test_what_is_escaped_comes_back(properties: dict[str, str]) -> None:
    def escape(text: str) -> str:
        units = text.encode("utf-16-be", "replace")
        return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

    written = "\n".join(f"{escape(name)}={escape(value)}" for name, value in properties.items())
    assert read(written) == {k: v.encode("utf-16", "replace").decode("utf-16") for k, v in properties.items()}


@given(st.binary(max_size=60))
def test_whatever_it_is_fed_it_answers(data: bytes) -> None:
    with contextlib.suppress(PropertiesSyntaxError):
        parse_properties(data)
