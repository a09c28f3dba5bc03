"""What can go wrong on the wire, and whose fault it is.

WireError
├── RemoteProtocolError    the peer broke the protocol: its connection ends, nobody else's
│   └── AmfError               bytes that are no AMF value
└── LocalProtocolError     we broke it: a bug of ours
"""

from __future__ import annotations

from aircheck.errors import AircheckError

_DUMP_BYTES = 24


class WireError(AircheckError):
    """Holds enough to find the place in a packet capture.

    `session` is the id of the peer's connection, `offset` the position in everything the peer has sent
    (`None` when no byte is to blame), `dump` the first bytes from there in hex.
    """

    def __init__(
        self,
        message: str,
        *,
        session: str = "",
        offset: int | None = None,
        data: bytes = b"",
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.session = session
        self.offset = offset
        self.dump = data[:_DUMP_BYTES].hex(" ")

    def locate(self, *, session: str, offset: int, data: bytes = b"") -> None:
        """Add what was not known where the fault was found."""
        self.session = self.session or session
        if self.offset is None:
            self.offset = offset
            self.dump = data[:_DUMP_BYTES].hex(" ")

    def __str__(self) -> str:
        places = []
        if self.session:
            places.append(f"session {self.session}")
        if self.offset is not None:
            places.append(f"byte {self.offset}")
        if self.dump:
            places.append(f"data {self.dump}")
        return f"{self.message} ({', '.join(places)})" if places else self.message


class RemoteProtocolError(WireError):
    pass


class AmfError(RemoteProtocolError):
    """`offset` counts from the first byte of the value that was parsed."""


class LocalProtocolError(WireError):
    pass
