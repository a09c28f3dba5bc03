"""Programs are started with what they expect of a parent, and while other threads go on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from aircheck.recording.spawn import spawn


def run(script: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The process id and output of a script of the shell."""
    read_fd, write_fd = os.pipe()
    try:
        pid = spawn(["/bin/sh", "-c", script], environment or {"PATH": os.environ["PATH"]}, write_fd)
    finally:
        os.close(write_fd)
    with os.fdopen(read_fd) as output:
        said = output.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, said
    return pid, said


def test_a_program_leads_a_session_of_its_own() -> None:
    pid, said = run("ps -o sid= -p $$")
    assert int(said) == pid != os.getsid(0)


def test_a_program_has_no_input_and_says_all_in_one_place() -> None:
    assert run("cat; echo one; echo two >&2")[1] == "one\ntwo\n"


def test_a_program_gets_the_environment_that_is_given_and_no_other() -> None:
    assert (
        run("/usr/bin/env | grep -v PWD= | grep -v _=", {"NAME": "täglich = ja"})[1] == "NAME=täglich = ja\n"
    )


def test_a_program_does_not_inherit_what_is_ignored_here_nor_what_is_open(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        said = run("grep -E 'SigIgn|SigBlk' /proc/self/status; ls -l /proc/self/fd")[1]
    blocked, ignored = signals_in(said)
    _, ignored_here = signals_in(Path("/proc/self/status").read_text())
    changed_here = {signal.SIGPIPE, signal.SIGXFSZ}
    assert changed_here <= ignored_here
    assert (blocked, ignored) == (set(), ignored_here - changed_here), "as this program was started itself"
    assert str(tmp_path) not in said


def signals_in(status: str) -> tuple[set[int], set[int]]:
    """Those that are blocked and those that are ignored, beside those of the C library itself."""
    blocked, ignored = (
        {number for number in range(1, 32) if int(mask, 16) >> (number - 1) & 1}
        for mask in re.findall(r"^Sig(?:Blk|Ign):\s*(\w+)", status, re.MULTILINE)
    )
    return blocked, ignored


@pytest.mark.parametrize(
    ("name", "error"),
    [("missing", FileNotFoundError), ("plain", PermissionError)],
)
def test_what_cannot_be_started_is_an_error(tmp_path: Path, name: str, error: type[OSError]) -> None:
    (tmp_path / "plain").write_text("nothing to run")
    with pytest.raises(error, match=name):
        spawn([str(tmp_path / name)], {}, 1)


def test_other_threads_go_on_until_a_program_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its input cannot be opened until somebody here writes to it."""
    fifo = tmp_path / "input"
    os.mkfifo(fifo)
    monkeypatch.setattr(os, "devnull", str(fifo))
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(run("cat")[1]))
    with subprocess.Popen(["sh", "-c", f"sleep 20; : > {fifo}"]) as somebody_else:
        thread.start()
        with fifo.open("w") as file:
            file.write("from a thread that went on")
        thread.join()
        has_gone_on = somebody_else.poll() is None
        somebody_else.kill()
    assert has_gone_on
    assert said == ["from a thread that went on"]
