"""Conditional requests (RFC 9110 section 13): does the client's copy still hold?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum, auto

from starlette.datastructures import Headers


class Verdict(Enum):
    SEND = auto()
    NOT_MODIFIED = auto()
    PRECONDITION_FAILED = auto()


@dataclass(frozen=True, slots=True)
class Validators:
    """What identifies a representation: a strong entity tag with its quotes, and a time in whole seconds.

    Both are None for a representation that no later request will see again.
    """

    etag: str | None
    modified_s: int | None

    @property
    def last_modified(self) -> str | None:
        if self.modified_s is None:
            return None
        return format_datetime(datetime.fromtimestamp(self.modified_s, UTC), usegmt=True)


def evaluate(headers: Headers, validators: Validators) -> Verdict:
    """Preconditions in the order of RFC 9110 13.2.2, for GET and HEAD."""
    if if_match := headers.getlist("if-match"):
        if not _matches(if_match, validators.etag, strongly=True):
            return Verdict.PRECONDITION_FAILED
    elif _is_modified_since(headers.get("if-unmodified-since"), validators) is True:
        return Verdict.PRECONDITION_FAILED
    if if_none_match := headers.getlist("if-none-match"):
        if _matches(if_none_match, validators.etag, strongly=False):
            return Verdict.NOT_MODIFIED
    elif _is_modified_since(headers.get("if-modified-since"), validators) is False:
        return Verdict.NOT_MODIFIED
    return Verdict.SEND


def may_send_range(headers: Headers, validators: Validators) -> bool:
    """If-Range (RFC 9110 13.1.5): a part is only of use to a client that has the rest of the same file."""
    condition = headers.get("if-range")
    if condition is None:
        return True
    if condition.strip() == validators.etag:
        return True
    return validators.modified_s is not None and _seconds(condition) == validators.modified_s


def _matches(lines: list[str], etag: str | None, *, strongly: bool) -> bool:
    tags = {tag.strip() for line in lines for tag in line.split(",")}
    if tags == {"*"}:
        return True
    if not strongly:
        tags = {tag.removeprefix("W/") for tag in tags}
    return etag is not None and etag in tags


def _is_modified_since(header: str | None, validators: Validators) -> bool | None:
    """None if the question is not asked, not a date, or cannot be answered."""
    if header is None or validators.modified_s is None:
        return None
    since_s = _seconds(header)
    return None if since_s is None else validators.modified_s > since_s


def _seconds(date: str) -> float | None:
    """Any of the three formats (RFC 9110 5.6.7), since the epoch; None for what is no date."""
    try:
        found = parsedate_to_datetime(date)
    except ValueError:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
