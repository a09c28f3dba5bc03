"""The server, sentenced to die at one exact step: `dying_server.py STEP CALL before|after serve …`.

It kills itself (SIGKILL) right before or right after the CALL-th call of one function: the instants between
two steps of a file's life are too short to be met by chance.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import Any

STEPS = {
    "row": "aircheck.service.journal:CatalogJournal.put_segment",
    "event": "aircheck.service.journal:CatalogJournal.add_event",
    "create": "aircheck.containers.mp4.disk:Disk.create",
    "write": "aircheck.containers.mp4.disk:Disk.write",
    "finish": "aircheck.containers.mp4.writer:Mp4Writer.finish",
    "finalize": "aircheck.containers.mp4.writer:Mp4Writer.finalize",
    "copy": "os:sendfile",
    "link": "os:link",
    "sync": "aircheck.recording.finalize:sync_directory",
    "place": "aircheck.recording.finalize:place",
    "forget": "aircheck.recording.finalize:forget",
    "recover": "aircheck.recording.recovery:recover_file",
    "conclude": "aircheck.service.journal:CatalogJournal.put_recording",
}
MOMENTS = ("before", "after")


def sentence(step: str, call: int, moment: str) -> None:
    """Let this process die at that call."""
    module_name, _, path = STEPS[step].partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module_name)
    for each in owners:
        owner = getattr(owner, each)
    raw = inspect.getattr_static(owner, name)
    deadly = _deadly(getattr(raw, "__func__", raw), call, moment)
    setattr(owner, name, classmethod(deadly) if isinstance(raw, classmethod) else deadly)


def _deadly(function: Callable[..., Any], call: int, moment: str) -> Callable[..., Any]:
    calls = count(1)

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def deadly_async(*args: Any, **kwargs: Any) -> Any:
            own = next(calls)
            if own == call and moment == "before":
                _die()
            result = await function(*args, **kwargs)
            if own == call and moment == "after":
                _die()
            return result

        return deadly_async

    @wraps(function)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        own = next(calls)
        if own == call and moment == "before":
            _die()
        result = function(*args, **kwargs)
        if own == call and moment == "after":
            _die()
        return result

    return deadly


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    step, call, moment, *arguments = sys.argv[1:]
    sentence(step, int(call), moment)
    sys.argv = ["aircheck", *arguments]
    from aircheck.cli import main as aircheck

    aircheck()


if __name__ == "__main__":
    main()
