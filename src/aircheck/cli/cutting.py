"""`aircheck clip` and `aircheck join`: which files are meant, and a new file made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from aircheck.cli.inspecting import find_in_catalogue
from aircheck.cli.paths import exists
from aircheck.cli.views import console
from aircheck.containers.capability import Container
from aircheck.containers.cut import Made, NothingThere, Range, Source, cut
from aircheck.containers.cut import Progress as Told
from aircheck.containers.recover import ForeignFileError, read_note
from aircheck.errors import AircheckError, ConfigError, ContainerError
from aircheck.facts import SegmentFacts, SegmentState
from aircheck.moving import move_to_new
from aircheck.segment_note import NoteError, decode_note
from aircheck.service.clip_range import ClipRange
from aircheck.service.clip_subjects import without_part
from aircheck.service.errors import BadRange
from aircheck.words import clock_time, file_size

_UNFINISHED = (SegmentState.GROWING, SegmentState.FINALIZING)


def clip_target(
    target: str, start: str | None, end: str | None, output: Path | None, catalog_path: Path
) -> None:
    """Cut a part of a file or recording to `output`, by default named as the server would name it.

    Raises ConfigError for what cannot be meant, ContainerError for what cannot be cut.
    """
    try:
        clip = ClipRange.parse(start, end)
    except BadRange as error:
        raise ConfigError(error.message, remedy="give seconds, such as --start 11 --end 60.5") from error
    name, sources = _meant(target, catalog_path)
    target_path = output or Path(clip.name(name, sources[0].path.suffix[1:]))
    _make(sources, Range(clip.start_s, clip.end_s), target_path, is_one_timeline=True)


def join_targets(targets: Sequence[str], output: Path, catalog_path: Path) -> None:
    """Put files, or those of a recording, one behind the other. Raises as `clip_target` does."""
    sources = [source for target in targets for source in _meant(target, catalog_path)[1]]
    _make(sources, Range(), output, is_one_timeline=_are_one_recording(sources))


def _make(sources: Sequence[Source], wanted: Range, output: Path, *, is_one_timeline: bool) -> None:
    """By a temporary name, so that the real one never stands for less than the whole."""
    _check_output(output)
    temporary = output.with_name(f".{token_hex(6)}{output.suffix.lower()}")
    try:
        with _bar(output.name) as told:
            made = cut(sources, wanted, temporary, is_one_timeline=is_one_timeline, progress=told)
        move_to_new(temporary, output)
    except NothingThere as error:
        raise ContainerError(error.message, remedy="`aircheck inspect` tells how long it is") from error
    except FileExistsError as error:
        raise _is_taken(output) from error
    except OSError as error:
        raise ContainerError(
            f"{output} cannot be made: {error.strerror or error}", remedy="look at the disks and permissions"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _show(output, made)


def _check_output(output: Path) -> None:
    if output.suffix[1:].lower() not in set(Container):
        raise ConfigError(
            f"{output} has no container's extension", remedy=f"name a file of one: {', '.join(Container)}"
        )
    if exists(output):
        raise _is_taken(output)
    if not output.parent.is_dir():
        raise ConfigError(f"there is no folder {output.parent}", remedy="make it, or name another with -o")


def _is_taken(output: Path) -> AircheckError:
    return ConfigError(f"{output} exists", remedy="Give another name with -o, or move it away.")


def _meant(target: str, catalog_path: Path) -> tuple[str, list[Source]]:
    """Name and files. What is on the disk under that path wins; all else is looked up in the catalogue."""
    if exists(path := Path(target)):
        if path.is_dir():
            raise ConfigError(f"{path} is a folder", remedy="name the files in it, in their order")
        return path.name, [Source(path)]
    _, segments = find_in_catalogue(target, catalog_path)
    usable = [segment for segment in segments if segment.state is not SegmentState.FAILED]
    if not usable:
        raise ConfigError(f"no file of the recording {target} could be finished")
    name = without_part(usable[0]) if len(usable) > 1 else usable[0].file_name
    sources = [Source(Path(segment.path), segment.start_pts_ms, _end_ms(segment)) for segment in usable]
    return name.rpartition("/")[2], sources


def _end_ms(segment: SegmentFacts) -> int | None:
    return None if segment.state in _UNFINISHED else segment.start_pts_ms + segment.duration_ms


def _are_one_recording(sources: Sequence[Source]) -> bool:
    """Whether all are files of one recording in their order: then the stream's own time joins them."""
    try:
        found = [decode_note(read_note(source.path)) for source in sources]
    except (ForeignFileError, NoteError, OSError):
        return False
    numbers = [segment.index for _, segment in found]
    return len({recording.id for recording, _ in found}) == 1 and numbers == sorted(set(numbers))


def _show(output: Path, made: Made) -> None:
    console().print(
        f"{output}: {clock_time(made.duration_ms)}, {file_size(made.size_bytes)}",
        markup=False,
        soft_wrap=True,
    )


@contextmanager
def _bar(name: str) -> Iterator[Told]:
    out = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
