"""What the server says about itself: log lines that people read and machines parse.

Rooms log by the standard library, the event first and its facts behind it as `key=%s`:

    _log = logging.getLogger(__name__)
    _log.info("recording started stream=%s by=%s", stream.name, requested_by)

`configure_logging` turns each such line into an event with fields, adds what `bound` says of the session or
the stream, and writes it in the format of the settings. Lines of uvicorn, SQLAlchemy and Python's own
warnings take the same way. A thread does the writing: a stalled terminal, pipe or disk never holds up the
loop.
"""

from __future__ import annotations

import atexit
import logging
import queue
import re
import sys
import threading
from collections import Counter, OrderedDict
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from aircheck.clock import Clock

LogFormat = Literal["console", "logfmt", "json"]

QUEUED_LINES_MAX = 10_000
"""Lines that wait for a stalled output; more are dropped and counted."""

_FIELD = re.compile(r"\s*\b(\w+)=%[-+ 0-9.]*[srdfx](?=\s|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PACKAGE = "aircheck."
_EVENT_WIDTH = 28

# Other people's libraries: what is news to their authors is noise here.
_LIBRARY_LEVELS = {
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "aiosqlite": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "uvicorn.error": logging.WARNING,
}


def get_logger(room: str) -> structlog.stdlib.BoundLogger:
    """A logger that takes fields as keywords: `log.info("started", stream=name)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(room)
    return logger


def bound(**fields: object) -> AbstractContextManager[None]:
    """Put fields such as `session=…` on every line logged inside, and in the tasks started there."""
    return bound_contextvars(**fields)


def configure_logging(
    level: str = "info", format: LogFormat = "console", *, stream: TextIO | None = None
) -> LineWriter:
    """Send all logging of the process to `stream` (standard error). Close what is returned to flush it."""
    writer = LineWriter(stream or sys.stderr)
    shared = _shared_processors(format)
    handler = _CountingHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_split_fields, *shared],
            pass_foreign_args=True,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderer(format, writer),
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    _quieten_libraries(level)
    atexit.register(writer.close)
    return writer


def _quieten_libraries(level: str) -> None:
    for name, quiet_level in _LIBRARY_LEVELS.items():
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET if level == "debug" and name.startswith("uvicorn") else quiet_level)


def _shared_processors(format: LogFormat) -> list[Processor]:
    return [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _shorten_logger_name,
        _stamp_local_time if format == "console" else structlog.processors.TimeStamper("iso"),
    ]


def _renderer(format: LogFormat, writer: LineWriter) -> list[Processor]:
    if format == "console":
        return [
            _escape_controls,
            structlog.dev.ConsoleRenderer(
                colors=writer.isatty(),
                pad_event_to=_EVENT_WIDTH,
                sort_keys=False,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    if format == "json":
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ]
    order = ["timestamp", "level", "event"]
    return [
        _escape_controls,
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(key_order=order, drop_missing=True),
    ]


def _shorten_logger_name(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["logger"] = str(event["logger"]).removeprefix(_PACKAGE)
    return event


def _stamp_local_time(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event["timestamp"] = datetime.now().astimezone().isoformat(" ", "milliseconds")[:23]
    return event


def _split_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make fields of the `key=%s` in a format string, keeping their values' types.

    A format string with other placeholders is left as the text it makes.
    """
    message, args = event["_record"].msg, event.pop("positional_args", ())
    event["event"] = event["event"].strip()
    if not isinstance(message, str) or not isinstance(args, tuple):
        return event
    keys, text = _FIELD.findall(message), _FIELD.sub("", message)
    if len(keys) != len(args) or "%" in text or "event" in keys:
        return event
    event.update(zip(keys, map(_plain, args), strict=True))
    event["event"] = text.strip(" :,\n")
    return event


def _escape_controls(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Names come from strangers: nothing in them may begin a new line or move a terminal's cursor."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _CONTROL.sub(lambda match: repr(match[0])[1:-1], value)
    return event


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


class _CountingHandler(logging.StreamHandler["LineWriter"]):
    def emit(self, record: logging.LogRecord) -> None:
        # Whoever calls this holds the handler's lock.
        self.stream.records[record.levelname.lower()] += 1
        super().emit(record)


class LineWriter:
    """A text stream that never blocks: lines go to a thread that writes them.

    When `QUEUED_LINES_MAX` lines wait, further ones are dropped; the count is written when there is room
    again.
    """

    def __init__(self, stream: TextIO) -> None:
        self.dropped_lines = 0
        self.records: Counter[str] = Counter()
        """What was logged, by level; a line may be lost later, when nobody reads them."""
        self._stream = stream
        self._queue: queue.Queue[str | None] = queue.Queue(QUEUED_LINES_MAX)
        self._is_closed = False
        self._thread = threading.Thread(target=self._write_lines, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, text: str) -> int:
        if self._is_closed:
            return len(text)
        try:
            self._queue.put_nowait(text)
        except queue.Full:
            self.dropped_lines += 1
        return len(text)

    def flush(self) -> None:
        """Nothing to do: the thread flushes when it has caught up."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, for as long as `timeout_s`. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            return
        self._thread.join(timeout_s)

    def _write_lines(self) -> None:
        told = 0
        while (text := self._queue.get()) is not None:
            if not self._write(text):
                self.dropped_lines += 1
            if self._queue.empty():
                told = self._tell_dropped(told)
        self._tell_dropped(told)

    def _tell_dropped(self, told: int) -> int:
        dropped = self.dropped_lines
        if dropped > told and self._write(f"log lines dropped: {dropped - told}\n"):
            return dropped
        return told

    def _write(self, text: str) -> bool:
        try:
            self._stream.write(text)
            if self._queue.empty():
                self._stream.flush()
        except (OSError, ValueError):
            # The output has gone (a closed pipe) or is full: there is nobody to tell now.
            return False
        return True


class Repeats:
    """Says how often a fault may be logged: the first time, then once an interval with the number of times.

        if times := repeats.heard(("slow disk", path)):
            _log.warning("disk is slow path=%s times=%d", path, times)

    `totals` keeps the count of each fault since the start. At most `max_faults` are remembered, the latest.
    """

    def __init__(self, clock: Clock, *, interval_s: float = 60.0, max_faults: int = 1000) -> None:
        self.totals: OrderedDict[object, int] = OrderedDict()
        self._clock = clock
        self._interval_s = interval_s
        self._max_faults = max_faults
        self._told: dict[object, tuple[float, int]] = {}

    def heard(self, fault: object) -> int:
        """Count a fault. Returns 0 while it is to be kept quiet, else how often it came since it was told."""
        now_s, total = self._clock.monotonic_s(), self.totals.pop(fault, 0) + 1
        self.totals[fault] = total
        told_s, told = self._told.get(fault, (float("-inf"), 0))
        if now_s - told_s < self._interval_s:
            return 0
        self._told[fault] = (now_s, total)
        self._forget_oldest()
        return total - told

    def _forget_oldest(self) -> None:
        while len(self.totals) > self._max_faults:
            fault, _ = self.totals.popitem(last=False)
            self._told.pop(fault, None)
