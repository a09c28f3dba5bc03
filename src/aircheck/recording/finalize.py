"""Making a segment's file final: out of the growing folder, under the name that people know.

The steps, each of which recovery can resume: finish → *finalizing* row → finalize in place → fsync → link
under the final name (never over another file) → fsync the folder → *complete* row → unlink the growing
name. While both names exist they are one file, which is how a resumed step knows that it was done before;
where there can be no links, between file systems and on some, the note in the file tells.

Functions here block; they run on the volume's threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from aircheck.containers.recover import read_note
from aircheck.errors import AircheckError, ContainerError
from aircheck.moving import NO_LINKS, rename_to_new
from aircheck.recording import naming
from aircheck.recording.naming import OnConflict
from aircheck.recording.volume import sync_directory
from aircheck.segment_note import NoteError, decode_note

_COPY_BYTES = 16 << 20


OnCopied = Callable[[int, int], object]
"""Told the bytes that are copied, and those that there are."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a file is now, and what became of the one that had the name: replaced (`None`) or renamed."""

    path: Path
    displaced: Path | None = None
    is_replaced: bool = False


def place(
    growing: Path,
    root: Path,
    name: str,
    on_conflict: OnConflict = OnConflict.FREE_NUMBER,
    on_copied: OnCopied | None = None,
) -> Placement:
    """Give a final file its name below `root`. Another file of that name is treated as `on_conflict` says.

    The growing name stays until `forget`. From another file system the file is copied, and `on_copied` told
    of it now and then. Raises OSError, ContainerError for a name that leaves the root.
    """
    target = root / name
    _make_folder(root, target)
    if on_conflict is OnConflict.OVERWRITE:
        placement = _overwrite(growing, target, on_copied)
    elif on_conflict is OnConflict.VERSION:
        placement = _version(growing, root, name, on_copied)
    else:
        placement = Placement(_claim_first(growing, root, naming.candidates(name), on_copied))
    for helper in _helpers(growing, placement.path.parent):
        helper.unlink(missing_ok=True)  # of an interrupted try
    sync_directory(placement.path.parent)
    return placement


def _claim_first(
    growing: Path, root: Path, candidates: Iterable[str], on_copied: OnCopied | None = None
) -> Path:
    for candidate in candidates:
        if _claim(growing, root / candidate, on_copied):
            return root / candidate
    raise ContainerError(f"no free name for {growing}", remedy="choose a name template that is unique")


def _overwrite(growing: Path, target: Path, on_copied: OnCopied | None = None) -> Placement:
    """In one step: whoever opens the name gets the old file or the new one."""
    if _claim(growing, target, on_copied):
        return Placement(target)
    _, fresh = _helpers(growing, target.parent)
    fresh.unlink(missing_ok=True)
    _claim(growing, fresh, on_copied)
    fresh.replace(target)
    return Placement(target, is_replaced=True)


def _version(growing: Path, root: Path, name: str, on_copied: OnCopied | None) -> Placement:
    """The older file moves out of the way first, under the first free number."""
    target = root / name
    displaced = None
    while not _claim(growing, target, on_copied):
        displaced = _claim_first(target, root, naming.versions(name))
        target.unlink()
    return Placement(target, displaced)


def hold(target: Path, growing: Path) -> bool:
    """Give a file that grows on a second name, by which it stays whatever becomes of the first one.

    False on file systems without links. Raises OSError.
    """
    try:
        os.link(target, growing)
    except FileExistsError:
        if not growing.samefile(target):
            raise
    except OSError as error:
        if error.errno in NO_LINKS or error.errno == errno.EXDEV:
            return False
        raise
    return True


def place_back(growing: Path, root: Path, name: str, segment_id: str) -> Placement:
    """Give a file that grew on its name again. Usually it has it still.

    What has the name by now and is older bytes of the same segment is replaced: to make room for an index, a
    file may have to be written anew. Raises OSError, ContainerError.
    """
    target = root / name
    _make_folder(root, target)
    path = target
    if growing != target and not _claim(growing, target):
        if _segment_id(target) == segment_id:
            _overwrite(growing, target)
        else:
            path = _claim_first(growing, root, naming.candidates(name))
    sync_directory(path.parent)
    return Placement(path)


def find_placed(root: Path, name: str, segment_id: str) -> Path | None:
    """The final file of a segment whose growing name has gone: a crash came between its move and its row."""
    for candidate in naming.candidates(name):
        if not (root / candidate).exists():
            return None
        if _segment_id(root / candidate) == segment_id:
            return root / candidate
    return None


def forget(growing: Path) -> None:
    """Take the growing name away, after the row is complete."""
    growing.unlink(missing_ok=True)


def _helpers(growing: Path, folder: Path) -> tuple[Path, Path]:
    """Names beside the final one: of a copy not whole yet, and of what is to replace an older file."""
    return folder / f".{growing.stem}.part", folder / f".{growing.stem}.new"


def _make_folder(root: Path, target: Path) -> None:
    if not root.is_dir():
        # Made anew it would be on whatever disk is below the mount point of the one that has gone.
        raise FileNotFoundError(errno.ENOENT, "the record folder is gone: is its disk mounted?", str(root))
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise ContainerError(
            f"{target} leaves the record folder", remedy="remove links out of the record folder"
        )


def _claim(growing: Path, target: Path, on_copied: OnCopied | None = None) -> bool:
    """Put the file under `target`; False when another file has the name."""
    try:
        os.link(growing, target)
    except FileExistsError:
        return _is_placed(growing, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return _copy_across(growing, target, on_copied)
        if error.errno in NO_LINKS:
            return _rename(growing, target)
        raise
    return True


def _is_placed(growing: Path, target: Path) -> bool:
    """Whether the name is taken by this very file, or by the copy that an interrupted try made of it."""
    if growing.samefile(target):
        return True
    if growing.stat().st_dev == target.stat().st_dev:
        return False
    segment_id = _segment_id(growing)
    is_whole = growing.stat().st_size == target.stat().st_size
    return bool(segment_id) and is_whole and _segment_id(target) == segment_id


def _segment_id(path: Path) -> str:
    """Of a file of ours; empty for others."""
    with contextlib.suppress(OSError, AircheckError, NoteError):
        return decode_note(read_note(path))[1].id
    return ""


def _rename(growing: Path, target: Path) -> bool:
    """For file systems without hard links; nothing is overwritten."""
    try:
        rename_to_new(growing, target)
    except FileExistsError:
        return _is_placed(growing, target)
    return True


def _copy_across(growing: Path, target: Path, on_copied: OnCopied | None) -> bool:
    """From another file system: copied whole and made durable beside the target before it gets the name."""
    if target.exists():
        return _is_placed(growing, target)
    part, _ = _helpers(growing, target.parent)
    try:
        _copy(growing, part, on_copied)
        return _claim(part, target)
    finally:
        part.unlink(missing_ok=True)


def _copy(source: Path, target: Path, on_copied: OnCopied | None) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size_bytes = os.fstat(reader.fileno()).st_size
        with contextlib.suppress(OSError):
            os.posix_fallocate(writer.fileno(), 0, max(1, size_bytes))
        done = 0
        while done < size_bytes:
            sent = os.sendfile(writer.fileno(), reader.fileno(), done, min(_COPY_BYTES, size_bytes - done))
            if not sent:
                raise OSError(errno.EIO, "source became shorter while it was copied", str(source))
            done += sent
            if on_copied is not None:
                on_copied(done, size_bytes)
        os.ftruncate(writer.fileno(), size_bytes)
        os.fsync(writer.fileno())
