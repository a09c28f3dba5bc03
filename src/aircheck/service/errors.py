"""What a use case refuses, in words that every face can translate.

AircheckError
└── ServiceError
    ├── NotFound            no such stream, recording or file
    ├── NotYetPlayable      a file that has not got its first fragment
    ├── InvalidRequest      an argument that cannot be meant
    ├── UnknownKind         a kind of events that there is none of
    ├── BadRange            a part of a recording, not written as one
    ├── OutsideRange        a part that lies outside of the recording
    ├── Conflict            it is known, but not in a state in which this can be done
    ├── Refused             it could be done, but not now: there is no room on the disk
    └── NotSupported        a request of another server's API that this one has no answer to yet
"""

from __future__ import annotations

from aircheck.errors import AircheckError


class ServiceError(AircheckError):
    pass


class NotFound(ServiceError):
    pass


class NotYetPlayable(ServiceError):
    pass


class InvalidRequest(ServiceError):
    pass


class UnknownKind(ServiceError):
    pass


class BadRange(ServiceError):
    pass


class OutsideRange(ServiceError):
    pass


class Conflict(ServiceError):
    pass


class Refused(ServiceError):
    pass


class NotSupported(ServiceError):
    pass
