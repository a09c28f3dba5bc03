"""Conditional requests (RFC 9110 section 13): does the client's copy still hold?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum, auto


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


def evaluate(headers: Mapping[str, str], validators: Validators) -> Verdict:
    """Preconditions in the order of RFC 9110 13.2.2, for GET and HEAD."""
    if (if_match := headers.get("if-match")) is not None:
        if not _matches(if_match, validators.etag, strongly=True):
            return Verdict.PRECONDITION_FAILED
    elif _is_modified_since(headers.get("if-unmodified-since"), validators) is True:
        return Verdict.PRECONDITION_FAILED
    if (if_none_match := headers.get("if-none-match")) is not None:
        if _matches(if_none_match, validators.etag, strongly=False):
            return Verdict.NOT_MODIFIED
    elif _is_modified_since(headers.get("if-modified-since"), validators) is False:
        return Verdict.NOT_MODIFIED
    return Verdict.SEND


def may_send_range(headers: Mapping[str, str], validators: Validators) -> bool:
    """If-Range (RFC 9110 13.1.5): a part is only of use to a client that has the rest of the same file."""
    condition = headers.get("if-range")
    if condition is None:
        return True
    return condition.strip() in (validators.etag, validators.last_modified)


def _matches(header: str, etag: str | None, *, strongly: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = {tag.strip() for tag in header.split(",")}
    if not strongly:
        tags = {tag.removeprefix("W/") for tag in tags}
    return etag is not None and etag in tags


def _is_modified_since(header: str | None, validators: Validators) -> bool | None:
    """None if the question is not asked, not a date, or cannot be answered."""
    if header is None or validators.modified_s is None:
        return None
    try:
        since = parsedate_to_datetime(header)
    except ValueError:
        return None
    if since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return validators.modified_s > since.timestamp()
