"""The socket under an HTTP response, for bodies that are sent without passing through the server's code.

Theory of operation
    uvicorn gives an application no socket. `offer_connections` wraps the outermost application: it finds the
    connection behind `send` and puts a `RawConnection` into the scope, for plain HTTP only, as TLS has to see
    the bytes. Whoever answers with a file may ask for it by `raw_connection`. h11, which frames the
    responses, is told of bytes that it has not seen by its interface for this purpose.
"""

from __future__ import annotations

from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send

_EXTENSION = "aircheck.raw_connection"


def offer_connections(app: ASGIApp) -> ASGIApp:
    """The application; requests whose socket can be written to directly have an extension in their scope."""

    async def offering(scope: Scope, receive: Receive, send: Send) -> None:
        cycle = getattr(send, "__self__", None)
        if scope["type"] == "http" and isinstance(getattr(cycle, "conn", None), h11.Connection):
            scope.setdefault("extensions", {})[_EXTENSION] = RawConnection(cycle)
        await app(scope, receive, send)

    return offering


def raw_connection(scope: Scope) -> RawConnection | None:
    """What this request came on; None where the body must be sent as usual."""
    found = scope.get("extensions", {}).get(_EXTENSION)
    return found if isinstance(found, RawConnection) and found.is_plain else None


class RawConnection:
    """One request's connection, of use once its response has been started with a Content-Length."""

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle

    @property
    def is_plain(self) -> bool:
        """Not inside TLS."""
        transport = self._cycle.transport
        return transport.get_extra_info("socket") is not None and not transport.get_extra_info("sslcontext")

    async def flushed(self) -> int:
        """The descriptor of the socket, when all has been written to it so far; -1 if the client has gone."""
        transport = self._cycle.transport
        if not transport.is_closing() and transport.get_write_buffer_size():
            transport.set_write_buffer_limits(high=0)
            await self._cycle.flow.drain()
            if not transport.is_closing():
                transport.set_write_buffer_limits()
        return -1 if transport.is_closing() else int(transport.get_extra_info("socket").fileno())

    def account_for(self, size_bytes: int) -> None:
        """So many bytes of the body have been written to the socket."""
        if not self._cycle.disconnected:
            self._cycle.conn.send_with_data_passthrough(h11.Data(data=_Unseen(size_bytes)))  # type: ignore[arg-type]

    def abort(self) -> None:
        """The client has gone, which the server might notice late: whoever pipelines is not read from."""
        self._cycle.transport.abort()


class _Unseen:
    """Bytes that went past h11: all that it wants to know of them is their number."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def __len__(self) -> int:
        return self._size_bytes
