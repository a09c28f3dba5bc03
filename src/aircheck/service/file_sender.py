"""Files to sockets in threads of their own: what is downloaded does not pass through the event loop.

Theory of operation
    A download in progress is a *transfer*: a content, a socket, how far it is and where it ends. One thread
    waits by an epoll for sockets with room, and has the content send as much as fits. What would make it wait
    for a disk goes to one of a few other threads, and its socket out of the epoll until that is done. The
    event loop hears of a transfer when it is over: neither a slow disk nor a client that reads nothing nor
    hundreds that read fast hold it up.

    Linux calls a socket writable when a third of its buffer is free, which is more than a million bytes for a
    client that is near. Whatever makes the thread come later than that costs it CPU time: a buffer that is
    refilled before it runs dry is emptied by the client's acknowledgements, one that ran dry by whoever
    refills it.

    The socket is used through a descriptor of the transfer's own, as whoever owns the connection may close
    his at any time. `done` resolves when no thread will touch socket or content any more.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from aircheck.service.content import Content

DISK_THREADS = 4
"""Enough to keep a disk busy; more would only fight for the interpreter."""
AT_ONCE_BYTES = 2 << 20
"""What is sent before others have their turn; sockets rarely have more room."""
LOOK_AHEAD_BYTES = 8 << 20
"""What is in memory now will be there still when its turn comes."""

_BROKEN = select.EPOLLERR | select.EPOLLHUP


class Transfer:
    """A part of a content on its way to a socket.

    `done` is True when all of it was sent, False when the client has gone or the transfer was cancelled; it
    raises OSError when the disk fails, `FileShrank`.
    """

    __slots__ = (
        "_at_hand_to",
        "_content",
        "_offset",
        "_stop",
        "begin",
        "done",
        "is_busy",
        "is_cancelled",
        "is_polled",
        "sock",
    )

    def __init__(self, content: Content, sock: int, span: range) -> None:
        self.sock = sock
        self.begin = self._offset = self._at_hand_to = span.start
        self.done: Future[bool] = Future()
        # Whoever waits for it may be cancelled; that must not make it look as if the threads were done.
        self.done.set_running_or_notify_cancel()
        self.is_busy = self.is_cancelled = self.is_polled = False
        self._content = content
        self._stop = span.stop

    @property
    def sent_bytes(self) -> int:
        return self._offset - self.begin

    def is_at_hand(self) -> bool:
        """Whether `advance` need not wait for a disk."""
        offset = self._offset
        if min(offset + AT_ONCE_BYTES, self._stop) > self._at_hand_to:
            size = min(LOOK_AHEAD_BYTES, self._stop - offset)
            if not self._content.is_at_hand(offset, size):
                return False
            self._at_hand_to = offset + size
        return True

    def advance(self) -> bool:
        """Send what the socket takes now. True when nothing is left. Raises OSError, `FileShrank`."""
        offset = self._offset
        try:
            offset += self._content.send(self.sock, offset, min(AT_ONCE_BYTES, self._stop - offset))
        except BlockingIOError:
            return False
        self._offset = offset
        return offset >= self._stop


class FileSender:
    """The threads, from the first transfer to `stop`. All other methods are called on the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._transfers: dict[int, Transfer] = {}
        self._thread = threading.Thread(target=self._run, name="file-sender", daemon=True)
        self._disks = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="file-sender-disk")
        self._is_started = False
        self._epoll: select.epoll
        self._leave = -1

    def send(self, content: Content, sock: int, span: range) -> Transfer:
        """Begin to send bytes of the content to a socket that does not block; `sock` stays the caller's."""
        if not self._is_started:
            self._start()
        transfer = Transfer(content, os.dup(sock), span)
        content.lend(transfer.done)
        with self._lock:
            self._transfers[transfer.sock] = transfer
            self._poll(transfer)
        return transfer

    def cancel(self, transfer: Transfer) -> None:
        """Send no more of it. `done` resolves at once, or when a thread comes back from it."""
        with self._lock:
            transfer.is_cancelled = True
            if transfer.is_busy or self._transfers.get(transfer.sock) is not transfer:
                return
            self._let_go(transfer)
        transfer.done.set_result(False)

    async def stop(self) -> None:
        """Cancels what is under way."""
        for transfer in list(self._transfers.values()):
            self.cancel(transfer)
        if self._is_started:
            os.eventfd_write(self._leave, 1)
            await asyncio.to_thread(self._thread.join)
            await asyncio.to_thread(self._disks.shutdown)
            self._epoll.close()
            os.close(self._leave)

    def _start(self) -> None:
        self._is_started = True
        self._epoll = select.epoll()
        self._leave = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._leave, select.EPOLLIN)
        self._thread.start()

    # --- in the threads ---

    def _run(self) -> None:
        while True:
            for sock, event in self._epoll.poll():
                if sock == self._leave:
                    return
                transfer = self._take(sock)
                if transfer is None:
                    continue
                if transfer.is_at_hand():
                    self._serve(transfer, event)
                else:
                    self._put_aside(transfer)
                    self._disks.submit(self._serve, transfer, event)

    def _take(self, sock: int) -> Transfer | None:
        """None: the event is of a transfer that was cancelled; another may have its descriptor by now."""
        with self._lock:
            transfer = self._transfers.get(sock)
            if transfer is None or transfer.is_busy:
                return None
            transfer.is_busy = True
            return transfer

    def _put_aside(self, transfer: Transfer) -> None:
        """While it waits for a disk, its socket must not wake anybody up."""
        self._epoll.unregister(transfer.sock)
        transfer.is_polled = False

    def _serve(self, transfer: Transfer, event: int) -> None:
        outcome: bool | Exception | None = False
        try:
            if not (event & _BROKEN or transfer.is_cancelled):
                outcome = transfer.advance() or None
        except ConnectionError:
            outcome = False
        except Exception as error:
            outcome = error
        self._settle(transfer, outcome)

    def _settle(self, transfer: Transfer, outcome: bool | Exception | None) -> None:
        """None: there is more to send."""
        with self._lock:
            transfer.is_busy = False
            if outcome is None and not transfer.is_cancelled:
                if not transfer.is_polled:
                    self._poll(transfer)
                return
            self._let_go(transfer)
        if isinstance(outcome, Exception):
            transfer.done.set_exception(outcome)
        else:
            transfer.done.set_result(bool(outcome))

    def _poll(self, transfer: Transfer) -> None:
        self._epoll.register(transfer.sock, select.EPOLLOUT)
        transfer.is_polled = True

    def _let_go(self, transfer: Transfer) -> None:
        del self._transfers[transfer.sock]
        if transfer.is_polled:
            self._epoll.unregister(transfer.sock)
        os.close(transfer.sock)
