"""Running other people's programs: bounded in time, stopped by their own pid, their last words kept."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from helpers.patience import PATIENCE_S

T = TypeVar("T")
_LAST_WORDS_CHARS = 3000


class ProgramError(AssertionError):
    """A program did not do what a test needs; the message ends with what it said."""


class Program:
    """A child process whose output goes to a file."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float) -> None:
        """Wait for a good end. Raises ProgramError on a bad one, or when it takes too long."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.error(f"still ran after {timeout_s} s") from None
        if code:
            raise self.error(f"ended with {code}")

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int:
        """Ask it to end; kill it when it does not. Returns its exit code."""
        if self.is_running:
            self._process.send_signal(number)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise self.error(f"did not stop within {timeout_s} s") from None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def error(self, what: str) -> ProgramError:
        return ProgramError(f"{Path(self.command[0]).name} {what}:\n{self.output[-_LAST_WORDS_CHARS:]}")


@contextmanager
def running(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Program]:
    """A program for the time of the block; what still runs at its end is killed."""
    program = Program(command, log, env)
    try:
        yield program
    finally:
        if program.is_running:
            program.kill()


def run_to_end(command: Sequence[str], log: Path, timeout_s: float = PATIENCE_S) -> None:
    """Run a program that ends by itself. Raises ProgramError."""
    with running(command, log) as program:
        program.wait(timeout_s)


def wait_until(
    what: str, probe: Callable[[], T | None], timeout_s: float = PATIENCE_S, every_s: float = 0.05
) -> T:
    """Ask until there is an answer that is true; AssertionError names `what` never came."""
    end_s = time.monotonic() + timeout_s
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end_s:
            raise AssertionError(f"{what}: not within {timeout_s} s")
        time.sleep(every_s)
