"""Start a program while everybody else goes on.

Who starts a program stands still until it has begun: the kernel lends it our memory until then (`vfork`). On
a busy machine this takes a tenth of a second. `subprocess` and `os.posix_spawn` keep the interpreter's lock
meanwhile, so every thread would stand still; here only the calling one does.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence

_libc = ctypes.CDLL(None)

# Of <spawn.h>, the same in glibc and musl.
_SETSIGDEF = 0x04
_SETSIGMASK = 0x08
_SETSID = 0x80

_STRUCT_BYTES = 1024
"""More than any of the C library's own structures for this takes."""

_CHANGED_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
"""Ignored by Python, which no other program expects of its parent."""


def spawn(command: Sequence[str], environment: Mapping[str, str], output_fd: int) -> int:
    """Start a program in a session of its own; returns its process id, which somebody must wait for.

    The first word of the command is its path. It has no input, and its output goes to `output_fd`; no other
    descriptor is left open. Raises OSError when it cannot be started.
    """
    attributes, actions = (ctypes.create_string_buffer(_STRUCT_BYTES) for _ in range(2))
    _must(_libc.posix_spawnattr_init(attributes))
    _must(_libc.posix_spawn_file_actions_init(actions))
    try:
        _set_attributes(attributes)
        _set_descriptors(actions, output_fd)
        pid = ctypes.c_int()
        path = os.fsencode(command[0])
        variables = [f"{name}={value}" for name, value in environment.items()]
        code = _libc.posix_spawn(
            ctypes.byref(pid), path, actions, attributes, _strings(command), _strings(variables)
        )
        _must(code, command[0])
        return pid.value
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)
        _libc.posix_spawnattr_destroy(attributes)


def _set_attributes(attributes: ctypes.Array[ctypes.c_char]) -> None:
    none, changed = (ctypes.create_string_buffer(_STRUCT_BYTES) for _ in range(2))
    for signals in (none, changed):
        _libc.sigemptyset(signals)
    for number in _CHANGED_SIGNALS:
        _libc.sigaddset(changed, int(number))
    _must(_libc.posix_spawnattr_setsigmask(attributes, none))
    _must(_libc.posix_spawnattr_setsigdefault(attributes, changed))
    flags = _SETSIGDEF | _SETSIGMASK | _SETSID
    _must(_libc.posix_spawnattr_setflags(attributes, ctypes.c_short(flags)))


def _set_descriptors(actions: ctypes.Array[ctypes.c_char], output_fd: int) -> None:
    for fd in (1, 2):
        _must(_libc.posix_spawn_file_actions_adddup2(actions, output_fd, fd))
    _must(_libc.posix_spawn_file_actions_addopen(actions, 0, os.devnull.encode(), os.O_RDONLY, 0))
    # Ours close by themselves; what we were started with may not. glibc before 2.34 cannot do this.
    if hasattr(_libc, "posix_spawn_file_actions_addclosefrom_np"):
        _must(_libc.posix_spawn_file_actions_addclosefrom_np(actions, 3))


def _strings(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    """A list as C has it, with nothing behind the last."""
    return (ctypes.c_char_p * (len(texts) + 1))(*map(os.fsencode, texts), None)


def _must(code: int, path: str | None = None) -> None:
    if code:
        raise OSError(code, os.strerror(code), path)
