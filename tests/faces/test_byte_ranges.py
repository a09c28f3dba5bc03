"""Range headers, by RFC 9110 section 14."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.faces.byte_ranges import MAX_RANGES, UnsatisfiableRange, parse_range

SIZE = 10_000


@pytest.mark.parametrize(
    ("header", "spans"),
    [
        ("bytes=0-499", [range(500)]),
        ("bytes=9500-", [range(9500, SIZE)]),
        ("bytes=-500", [range(9500, SIZE)]),
        ("bytes=-20000", [range(SIZE)]),
        ("bytes=9999-20000", [range(9999, SIZE)]),
        ("bytes=0-0,-1", [range(1), range(9999, SIZE)]),
        ("bytes=500-600, 601-999", [range(500, 1000)]),
        ("bytes=700-, 0-10", [range(11), range(700, SIZE)]),
        ("bytes= 5-6 , ,7-8", [range(5, 9)]),
        ("BYTES=1-2", [range(1, 3)]),
        ("bytes=1 - 2", [range(1, 3)]),
        (f"bytes=9990-{'9' * 30}", [range(9990, SIZE)]),
        (f"bytes=-{'9' * 30}", [range(SIZE)]),
        ("bytes=0-1,20000-", [range(2)]),
    ],
)
def test_valid_header_gives_ascending_spans(header: str, spans: list[range]) -> None:
    assert parse_range(header, SIZE) == spans


@pytest.mark.parametrize(
    "header",
    [
        "bytes=+1-2",
        "bytes=--1",
        "bytes=\u0661-\u0662",
        "bytes=1-2,x",
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-4",
        "bytes=1",
        "seconds=1-2",
        "bytes=1-2;3-4",
    ],
)
def test_invalid_header_is_ignored(header: str) -> None:
    assert parse_range(header, SIZE) is None


@pytest.mark.parametrize(
    "header", ["bytes=10000-", f"bytes={'9' * 30}-", "bytes=20000-30000", "bytes=-0", "bytes=10000-,-0"]
)
def test_range_outside_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(UnsatisfiableRange):
        parse_range(header, SIZE)


def test_no_range_of_an_empty_file_can_be_satisfied() -> None:
    for header in ("bytes=0-", "bytes=-5", "bytes=0-0"):
        with pytest.raises(UnsatisfiableRange):
            parse_range(header, 0)


def test_too_many_ranges_are_answered_with_the_whole_file() -> None:
    assert (
        parse_range("bytes=" + ",".join(f"{n * 10}-{n * 10 + 1}" for n in range(MAX_RANGES + 1)), SIZE)
        is None
    )


spec = st.one_of(
    st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda pair: f"{pair[0]}-{pair[1]}"),
    st.integers(0, 300).map(lambda first: f"{first}-"),
    st.integers(0, 300).map(lambda count: f"-{count}"),
)


@given(st.lists(spec, min_size=1, max_size=6), st.integers(0, 250))
def test_spans_are_exactly_the_bytes_that_were_asked_for(specs: list[str], size: int) -> None:
    wanted, is_valid = _bytes_by_definition(specs, size)
    header = "bytes=" + ",".join(specs)
    if not is_valid:
        assert parse_range(header, size) is None
    elif not wanted:
        with pytest.raises(UnsatisfiableRange):
            parse_range(header, size)
    else:
        spans = parse_range(header, size)
        assert spans is not None
        assert [n for span in spans for n in span] == sorted(wanted)


def _bytes_by_definition(specs: list[str], size: int) -> tuple[set[int], bool]:
    wanted: set[int] = set()
    for part in specs:
        first, last = part.split("-")
        if first and last and int(last) < int(first):
            return set(), False
        for n in range(size):
            is_before_last = not last or n <= int(last)
            is_in = n >= int(first) and is_before_last if first else n >= size - int(last)
            if is_in:
                wanted.add(n)
    return wanted, True


@given(st.text(max_size=40), st.integers(0, 2**40))
def test_any_text_is_answered_or_ignored(text: str, size: int) -> None:
    for header in (text, "bytes=" + text):
        try:
            spans = parse_range(header, size)
        except UnsatisfiableRange:
            continue
        assert spans is None or all(0 <= span.start < span.stop <= size for span in spans)
