"""The answer that carries a recorded file: whole, in part, in parts, or not because the client has it.

Starlette's own file response sends 64 KiB at a time, which costs three times the CPU, and knows no virtual
files. This one hands the socket to the threads that send files, and inside TLS sends larger pieces. It opens
the file only when it is sent, so that whatever happens before, nothing is left open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from secrets import token_hex
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aircheck.faces.byte_ranges import UnsatisfiableRange, parse_range
from aircheck.faces.conditions import Validators, Verdict, evaluate, may_send_range
from aircheck.faces.raw_connection import RawConnection, raw_connection
from aircheck.service.content import Content, FileShrank
from aircheck.service.downloads import Download, DownloadService
from aircheck.service.growing import Reader

CHUNK_BYTES = 256 * 1024
"""Per read and send; what a slow client can hold of our memory is this, twice. Less than this is always read,
as it goes into a socket at once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A status, its headers, and the pieces of the body in order: bytes as they are, ranges from the file."""

    status: int
    headers: dict[str, str]
    pieces: tuple[bytes | range, ...] = ()


class RecordedFileResponse(Response):
    """Sends what `open_file` opens. Errors of opening come before the first byte, as problems."""

    def __init__(
        self,
        open_file: Callable[[Reader], Awaitable[Download]],
        downloads: DownloadService,
        *,
        as_attachment: bool,
    ) -> None:
        super().__init__()
        self._open_file = open_file
        self._sender = downloads.sender
        self._counters = downloads.counters
        self._as_attachment = as_attachment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Headers(scope=scope)
        async with self._opened(_reader(scope, request)) as download:
            answer = _compose(download, request, as_attachment=self._as_attachment)
            await _send_head(send, answer)
            if scope["method"] == "HEAD" or not answer.pieces:
                await send({"type": "http.response.body", "body": b""})
            elif not await _unless_gone(receive, self._send_body(scope, send, download, answer)):
                self._counters.aborted += 1

    @contextlib.asynccontextmanager
    async def _opened(self, reader: Reader) -> AsyncIterator[Download]:
        download = await self._open_file(reader)
        self._counters.opened += 1
        self._counters.active += 1
        try:
            yield download
        finally:
            self._counters.active -= 1
            download.close()

    async def _send_body(self, scope: Scope, send: Send, download: Download, answer: _Answer) -> None:
        raw = raw_connection(scope)
        try:
            for piece in answer.pieces:
                if raw is not None and isinstance(piece, range) and len(piece) >= CHUNK_BYTES:
                    await self._hand_over(raw, download.content, piece)
                    continue
                async for chunk in _chunks(download, piece):
                    self._counters.sent_bytes += len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (OSError, FileShrank) as error:
            # Too late for a status: the connection is closed short of its Content-Length; clients notice.
            _log.error("download broken off file=%s error=%s", download.segment.path, error)
            self._counters.failed += 1
            return
        await send({"type": "http.response.body", "body": b""})

    async def _hand_over(self, raw: RawConnection, content: Content, span: range) -> None:
        """Have threads send the span. Comes back only if all was sent; raises OSError, `FileShrank`."""
        is_sent, sock = False, await raw.flushed()
        if sock >= 0:
            transfer = self._sender.send(content, sock, span)
            self._counters.transfers.add(transfer)
            try:
                is_sent = await asyncio.wrap_future(transfer.done)
            finally:
                self._sender.cancel(transfer)
                self._counters.transfers.discard(transfer)
                self._counters.sent_bytes += transfer.sent_bytes
        if not is_sent:
            raw.abort()
            await asyncio.get_running_loop().create_future()
        raw.account_for(len(span))


def _reader(scope: Scope, request: Headers) -> Reader:
    """The same player has the same address and program; whether it begins can be told from its range."""
    address = (scope.get("client") or ("",))[0]
    first = request.get("range", "bytes=0-").replace(" ", "").lower()
    return Reader(f"{address} {request.get('user-agent', '')}", first.startswith("bytes=0-"))


async def _chunks(download: Download, piece: bytes | range) -> AsyncIterator[bytes]:
    if isinstance(piece, bytes):
        yield piece
        return
    offset = piece.start
    while offset < piece.stop:
        chunk = await download.content.read(offset, min(CHUNK_BYTES, piece.stop - offset))
        offset += len(chunk)
        yield chunk


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, but not for a client that has gone away. True if it was done."""
    sending = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        was_done = sending.done()
        leaving.cancel()
        sending.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
    if was_done:
        sending.result()
    return was_done


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_head(send: Send, answer: _Answer) -> None:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


def _compose(download: Download, request: Headers, *, as_attachment: bool) -> _Answer:
    modified_s = None if download.modified_ns is None else download.modified_ns // 1_000_000_000
    validators = Validators(download.etag, modified_s)
    headers = _common_headers(download, validators)
    match evaluate(request, validators):
        case Verdict.NOT_MODIFIED:
            return _Answer(304, headers)
        case Verdict.PRECONDITION_FAILED:
            return _Answer(412, {**headers, "content-length": "0"})
        case Verdict.SEND:
            pass
    headers["content-disposition"] = content_disposition(download.file_name, as_attachment=as_attachment)
    size_bytes = download.size_bytes
    try:
        spans = _wanted(request, validators, size_bytes)
    except UnsatisfiableRange:
        return _Answer(416, {**headers, "content-range": f"bytes */{size_bytes}", "content-length": "0"})
    if spans is None:
        return _whole(download, headers)
    if len(spans) == 1:
        return _part(download, headers, spans[0])
    return _parts(download, headers, spans)


def _common_headers(download: Download, validators: Validators) -> dict[str, str]:
    headers = {"accept-ranges": "bytes", "x-content-type-options": "nosniff"}
    if download.is_growing:
        headers["cache-control"] = "no-store"
        return headers
    headers["cache-control"] = "no-cache"
    if validators.etag is not None:
        headers["etag"] = validators.etag
    if validators.last_modified is not None:
        headers["last-modified"] = validators.last_modified
    return headers


def _wanted(request: Headers, validators: Validators, size_bytes: int) -> list[range] | None:
    header = request.get("range")
    if header is None or not may_send_range(request, validators):
        return None
    return parse_range(header, size_bytes)


def _whole(download: Download, headers: dict[str, str]) -> _Answer:
    headers |= {"content-type": download.media_type, "content-length": str(download.size_bytes)}
    return _Answer(200, headers, (range(download.size_bytes),))


def _part(download: Download, headers: dict[str, str], span: range) -> _Answer:
    headers |= {
        "content-type": download.media_type,
        "content-length": str(len(span)),
        "content-range": content_range(span, download.size_bytes),
    }
    return _Answer(206, headers, (span,))


def _parts(download: Download, headers: dict[str, str], spans: list[range]) -> _Answer:
    """RFC 9110 14.6: a part per span, each with its own Content-Range."""
    boundary = token_hex(16)
    pieces: list[bytes | range] = []
    for span in spans:
        head = f"\r\n--{boundary}\r\nContent-Type: {download.media_type}\r\n"
        head += f"Content-Range: {content_range(span, download.size_bytes)}\r\n\r\n"
        pieces += (head.encode("ascii"), span)
    pieces.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    headers["content-type"] = f"multipart/byteranges; boundary={boundary}"
    headers["content-length"] = str(sum(len(piece) for piece in pieces))
    return _Answer(206, headers, tuple(pieces))


def content_range(span: range, size_bytes: int) -> str:
    return f"bytes {span.start}-{span.stop - 1}/{size_bytes}"


def content_disposition(file_name: str, *, as_attachment: bool) -> str:
    """RFC 6266: a plain name for old clients, and the real one as RFC 8187 writes it if they differ."""
    kind = "attachment" if as_attachment else "inline"
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in file_name)
    header = f'{kind}; filename="{plain}"'
    if plain != file_name:
        header += f"; filename*=UTF-8''{quote(file_name, safe='')}"
    return header
