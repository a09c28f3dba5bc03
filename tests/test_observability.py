"""Log lines: one event with fields whoever logs, in three formats, from a thread that nothing waits for."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

import aircheck
from aircheck.observability import (
    QUEUED_LINES_MAX,
    LineWriter,
    LogFormat,
    Repeats,
    bound,
    configure_logging,
    get_logger,
)


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


@contextmanager
def logging_to(out: io.StringIO, format: LogFormat, level: str = "info") -> Iterator[logging.Logger]:
    writer = configure_logging(level, format, stream=out)
    try:
        yield logging.getLogger("aircheck.recording.volume")
    finally:
        writer.close()


def lines_of(format: LogFormat, log: Callable[[logging.Logger], object], level: str = "info") -> list[str]:
    out = io.StringIO()
    with logging_to(out, format, level) as logger:
        log(logger)
    return out.getvalue().splitlines()


def events_of(log: Callable[[logging.Logger], object], level: str = "info") -> list[dict[str, object]]:
    return [json.loads(line) for line in lines_of("json", log, level)]


def test_keys_in_the_format_string_become_fields_with_their_types() -> None:
    (event,) = events_of(lambda log: log.warning("disk slow path=%s waiting=%d by=%s", "/a b", 5, None))
    assert event["event"] == "disk slow"
    assert (event["path"], event["waiting"], event["by"]) == ("/a b", 5, None)
    assert (event["level"], event["logger"]) == ("warning", "recording.volume")
    assert str(event["timestamp"]).endswith("Z")


def test_what_is_logged_is_counted_by_level() -> None:
    writer = configure_logging("info", "console", stream=io.StringIO())
    log = logging.getLogger("aircheck.tasks")
    for _ in range(3):
        log.error("task failed")
    log.warning("odd")
    log.debug("not shown")
    writer.close()
    assert writer.records == {"error": 3, "warning": 1}


@pytest.mark.parametrize(
    ("message", "args", "event"),
    [
        ("started", (), "started"),
        ("odd %s then x=%s", (1, 2), "odd 1 then x=2"),
        ("100%% sure x=%s", (1,), "100% sure x=1"),
        ("event=%s", ("x",), "event=x"),
    ],
)
def test_other_placeholders_stay_text(message: str, args: tuple[object, ...], event: str) -> None:
    (line,) = events_of(lambda log: log.info(message, *args))
    assert line["event"] == event


def test_lines_of_the_program_hide_no_facts_in_their_text() -> None:
    left = []
    for path in Path(aircheck.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            match call:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="_log")), args=[ast.Constant(value=str(message)), *_]
                ):
                    text = re.sub(r"\b\w+=%\S*", "", message)
                    left += [f"{path.name}: {message}"] if "%" in text or "=" in text else []
    assert left == []


def test_what_is_bound_is_on_every_line_inside() -> None:
    def log(logger: logging.Logger) -> None:
        with bound(session="s1"):
            logger.info("inside")
            get_logger("aircheck.ingest").info("also", stream="news")
        logger.info("outside")

    inside, also, outside = events_of(log)
    assert inside["session"] == also["session"] == "s1"
    assert (also["stream"], also["logger"]) == ("news", "ingest")
    assert "session" not in outside


def test_an_exception_brings_its_traceback() -> None:
    def log(logger: logging.Logger) -> None:
        try:
            raise ValueError("boom")
        except ValueError:
            logger.exception("failed path=%s", "/x")

    (event,) = events_of(log)
    assert "ValueError: boom" in str(event["exception"])
    assert any("ValueError: boom" in line for line in lines_of("console", log))


def test_less_important_lines_are_left_out() -> None:
    assert events_of(lambda log: log.info("x"), "warning") == []
    assert len(events_of(lambda log: log.debug("x"), "debug")) == 1


def test_the_console_shows_level_event_and_fields_on_one_line() -> None:
    (line,) = lines_of("console", lambda log: log.error("cannot write path=%s", "/records/a b"))
    assert "[error    ] cannot write" in line
    assert "path='/records/a b'" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("format", ["console", "logfmt", "json"])
def test_a_hostile_name_cannot_forge_a_line(format: LogFormat) -> None:
    name = "news\n2026-01-01 [info] all is well\x1b[2J"
    (line,) = lines_of(format, lambda log: log.info("published stream=%s", name))
    assert "\x1b" not in line


def test_logfmt_quotes_what_has_blanks() -> None:
    (line,) = lines_of("logfmt", lambda log: log.info("recording started stream=%s", "a b"))
    assert 'level=info event="recording started" stream="a b" logger=recording.volume' in line


def test_warnings_and_the_web_servers_errors_take_the_same_way() -> None:
    def log(_: logging.Logger) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old ways", stacklevel=1)
        logging.getLogger("uvicorn.error").error("no such thing")
        logging.getLogger("uvicorn.access").info("GET /")
        logging.getLogger("httpx").info("HTTP Request: POST http://studio.example/hooks/connect")

    warned, failed = events_of(log)
    assert "old ways" in str(warned["event"])
    assert failed["event"] == "no such thing"


class StalledStream(io.StringIO):
    """An output whose reader does not read until `released` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.released.wait(30)
        return super().write(text)


def test_a_stalled_output_holds_up_nobody_and_lost_lines_are_counted() -> None:
    out = StalledStream()
    writer = LineWriter(out)
    for number in range(QUEUED_LINES_MAX + 50):
        writer.write(f"{number}\n")
    assert 40 <= writer.dropped_lines <= 50
    dropped = writer.dropped_lines
    out.released.set()
    writer.close()
    lines = out.getvalue().splitlines()
    assert lines[0] == "0"
    assert f"log lines dropped: {dropped}" in lines


def test_closing_gives_up_on_an_output_that_stays_stalled() -> None:
    out = StalledStream()
    writer = LineWriter(out)
    writer.write("x\n")
    writer.close(timeout_s=0.05)
    writer.write("late\n")
    out.released.set()
    assert "late" not in out.getvalue()


def test_an_output_that_has_gone_is_no_error() -> None:
    out = io.StringIO()
    writer = LineWriter(out)
    out.close()
    writer.write("x\n")
    writer.close()
    assert writer.dropped_lines == 1


class HandClock:
    """A clock whose hands a test turns."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return time.time_ns()


def test_a_repeated_fault_is_told_once_then_counted() -> None:
    clock = HandClock()
    repeats = Repeats(clock, interval_s=60)
    assert [repeats.heard("slow") for _ in range(3)] == [1, 0, 0]
    assert repeats.heard("other") == 1
    clock.now_s = 60
    assert repeats.heard("slow") == 3
    assert repeats.totals["slow"] == 4


def test_faults_without_end_do_not_fill_the_memory() -> None:
    repeats = Repeats(HandClock(), max_faults=10)
    assert all(repeats.heard(number) == 1 for number in range(100))
    assert len(repeats.totals) == 10
