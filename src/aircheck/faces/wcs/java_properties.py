"""The syntax of Java's properties files (`java.util.Properties.load`).

Lines end in LF, CR or CR LF. A comment begins with `#` or `!`, after blanks. A backslash before the end of a
line goes on in the next one, whose leading blanks do not count; comments cannot be continued. A name ends
at the first blank, `=` or `:` that has no backslash before it; the value is what follows, blanks at its
end included. `\\t \\n \\r \\f` and `\\uXXXX` are characters, any other character after a backslash is itself.

Java reads ISO-8859-1; editors write UTF-8. What is valid UTF-8 is read as that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANKS = " \t\f"
_LINE_END = re.compile(r"\r\n|\r|\n")
_CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*\\$")
_ENTRY = re.compile(r"(?P<name>(?:\\.|[^\\=: \t\f])*)[ \t\f]*(?:[=:][ \t\f]*)?(?P<value>.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.)|$)", re.DOTALL)
_CHARACTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class PropertiesSyntaxError(ValueError):
    """`line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    value: str
    line: int
    """Where it begins, from 1."""


def parse_properties(data: bytes) -> list[Property]:
    """Every property in its order; of a name that comes twice the last one counts.

    Raises PropertiesSyntaxError for a `\\u` without four hexadecimal digits, as Java does.
    """
    return [_property(line, text) for line, text in _logical_lines(_decode(data))]


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with a property, continued ones joined, with the number of the first."""
    lines = enumerate(_LINE_END.split(text), 1)
    for number, line in lines:
        logical = line.lstrip(_BLANKS)
        if not logical or logical[0] in "#!":
            continue
        while _CONTINUED.search(logical):
            _, following = next(lines, (0, ""))
            logical = logical[:-1] + following.lstrip(_BLANKS)
        yield number, logical


def _property(line: int, text: str) -> Property:
    match = _ENTRY.fullmatch(text)
    assert match is not None, "every text has this form"
    return Property(_unescape(match["name"], line), _unescape(match["value"], line), line)


def _unescape(text: str, line: int) -> str:
    def character(match: re.Match[str]) -> str:
        code, other = match.groups()
        if code is not None:
            return chr(int(code, 16))
        if other == "u":
            raise PropertiesSyntaxError(line, r"\u wants four hexadecimal digits")
        return _CHARACTERS.get(other, other or "")

    # Characters beyond the first plane are written as two surrogates.
    plain = _ESCAPE.sub(character, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
