"""Trouble: what can be wrong with a database, and what a person can do about it."""

from __future__ import annotations

from enum import StrEnum

from aircheck.errors import CatalogError


class Trouble(StrEnum):
    """Kinds of failure, as they are counted and told apart by their remedies."""

    LOCKED = "locked"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    CORRUPT = "corrupt"
    READ_ONLY = "read_only"
    UNREACHABLE = "unreachable"
    DENIED = "denied"
    REFUSED = "refused"
    NEWER = "newer"
    FOREIGN = "foreign"
    CLOSED = "closed"
    OTHER = "other"


REMEDIES = {
    Trouble.LOCKED: "find the program that holds the database open for writing and let it finish",
    Trouble.DISK_FULL: "make room on the catalogue's disk; a server that runs goes on recording meanwhile",
    Trouble.DISK_ERROR: "look after the disk of the catalogue: the kernel's log says what is wrong with it",
    Trouble.CORRUPT: "stop the server, move the catalogue's file (with -wal and -shm) away, and rebuild it"
    " from the recordings by check with repair",
    Trouble.READ_ONLY: "give the server's user the right to write to the catalogue's file and folder",
    Trouble.UNREACHABLE: "check the catalogue's address, and that its folder or database server is there",
    Trouble.DENIED: "check the user and password in the catalogue's address",
    Trouble.REFUSED: "this is a mistake in the program: please report it with the message above",
    Trouble.NEWER: "run the version of this program that wrote it, or a later one",
    Trouble.FOREIGN: "name another database for the catalogue; this one is in use for something else",
    Trouble.CLOSED: "nothing to do while the server stops",
    Trouble.OTHER: "the message above comes from the database; its documentation knows it",
}
assert set(REMEDIES) == set(Trouble)


class DatabaseError(CatalogError):
    """The database failed. `trouble` says how; the remedy follows from it."""

    def __init__(self, message: str, trouble: Trouble) -> None:
        super().__init__(message, remedy=REMEDIES[trouble])
        self.trouble = trouble
