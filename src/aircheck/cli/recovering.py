"""`aircheck recover`: one file after another, with a bar for those that take a while."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from aircheck.cli.views import console
from aircheck.containers.recover import Outcome, Recovery, recover_file
from aircheck.words import clock_time, file_size


def recover_files(files: Sequence[Path], *, force: bool) -> bool:
    """Recover each file and say what came of it. False when one could not be made whole."""
    out = console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        recovered = [_recover(file, progress, force=force) for file in files]
    return all(recovered)


def _recover(path: Path, progress: Progress, *, force: bool) -> bool:
    task = progress.add_task(path.name, total=None)
    try:
        if is_being_written(path):
            progress.console.print(f"{path}: left as it is, another program is writing it", markup=False)
            return False
        recovery = recover_file(
            path,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            force=force,
        )
    except OSError as error:
        progress.console.print(f"{path}: {error.strerror or error}", markup=False)
        return False
    finally:
        progress.remove_task(task)
    progress.console.print(f"{path}: {_told(recovery)}", markup=False)
    return recovery.outcome in (Outcome.FINAL, Outcome.RECOVERED)


def _told(recovery: Recovery) -> str:
    match recovery.outcome:
        case Outcome.FINAL:
            return "whole already"
        case Outcome.RECOVERED:
            length = f", {clock_time(recovery.facts.duration_ms)}" if recovery.facts is not None else ""
            cut = f", {file_size(recovery.bytes_cut)} torn at the end cut off" if recovery.bytes_cut else ""
            return f"recovered{length}, {file_size(recovery.bytes_kept)}{cut}"
        case Outcome.EMPTY:
            return "left as it is, no media had reached the disk"
        case Outcome.FOREIGN:
            return "left as it is, not a recording of this program (--force if you know better)"


def is_being_written(path: Path) -> bool:
    """Whether some process has the file open for writing: the kernel grants no read lease then (fcntl(2)).

    False also where leases cannot be had: on other people's files and on network file systems.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False
