"""The commands. Exit codes: 0 done, 1 it did not work, 2 it cannot work as asked (usage, settings).

Heavy rooms are imported inside the command that needs them, so that `aircheck --help` answers at once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from aircheck import __version__
from aircheck.cli import views
from aircheck.cli.importing import import_properties, settings_over, to_toml
from aircheck.cli.paths import exists
from aircheck.errors import AircheckError, ConfigError
from aircheck.facts import RecordingFacts, RecordingState, SegmentFacts, SegmentState
from aircheck.settings import Settings, load_settings

EXIT_FAILED = 1
EXIT_USAGE = 2

app = typer.Typer(
    help="A live-stream recorder: any publisher in, files you can trust out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings, TOML. Default: $AIRCHECK_CONFIG, else ./aircheck.toml."),
]
Properties = Annotated[
    Path | None,
    typer.Option(
        "--flashphoner-properties",
        help="Settings of a Flashphoner WCS, beneath those of --config and the environment.",
    ),
]
Host = Annotated[
    str | None, typer.Option(help="Listen here on every port instead; 0.0.0.0 is the whole network.")
]


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        version()
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """The entry point: expected errors become a panel and an exit code, all others a traceback."""
    try:
        app(prog_name="aircheck")
    except AircheckError as error:
        views.show_error(error)
        sys.exit(EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED)


@app.command()
def serve(config: Config = None, host: Host = None, flashphoner_properties: Properties = None) -> None:
    """Run the server until Ctrl-C or SIGTERM; recordings are finished before it ends."""
    if flashphoner_properties is None:
        settings = _settings(config, host)
    else:
        settings, imported = settings_over(flashphoner_properties, config, host)
        views.show_import(imported)
    from aircheck.app.process import serve as run_server

    raise typer.Exit(run_server(settings))


@app.command()
def demo(
    config: Config = None,
    seconds: Annotated[int, typer.Option(min=2, max=600, help="Length of the test pattern.")] = 10,
) -> None:
    """Publish a test pattern, record it, and judge the file: is all that was sent in it?"""
    settings = _settings(config)
    from aircheck.containers.test_pattern import Pattern
    from aircheck.demo import run_demo

    raise typer.Exit(run_demo(settings, pattern=Pattern(duration_s=seconds)))


@app.command("ls")
def list_recordings(
    config: Config = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")] = False,
) -> None:
    """List recordings, the newest first, whether the server runs or not."""
    settings = _settings(config)
    catalog = settings.catalog_path
    # Reading must not create a catalogue: without one there are no recordings.
    found = asyncio.run(_read_recordings(catalog, stream, limit)) if exists(catalog) else []
    states = _states_of_now(settings, [facts for facts, _ in found])
    if as_json:
        rows = [
            asdict(facts) | {"state": state, "segments": [asdict(each) for each in files]}
            for (facts, files), state in zip(found, states, strict=True)
        ]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif found:
        views.show_recordings(found, states)
    elif stream is not None:
        typer.echo(f"No recordings of a stream {stream!r}. `aircheck ls` lists those of all.")
    else:
        typer.echo("No recordings yet. Publish a stream: it is recorded from its first packet.")


@app.command()
def inspect(
    target: Annotated[
        str, typer.Argument(help="A file, or a recording's id or file name as the catalogue has it.")
    ],
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")] = False,
) -> None:
    """Show what a recording holds and what is missing in it, finished or growing.

    Tracks, sizes, key frames, gaps and their reasons, jumps of timestamps, drift; of files of others too.
    """
    from aircheck.cli.inspecting import inspect_target

    found = inspect_target(target, _settings(config).catalog_path)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        from aircheck.cli.inspection_view import show_inspection

        show_inspection(found)


@app.command()
def clip(
    target: Annotated[
        str, typer.Argument(help="A file, or a recording's id or file name as the catalogue has it.")
    ],
    config: Config = None,
    start: Annotated[str | None, typer.Option(help="Where it begins, in seconds.")] = None,
    end: Annotated[str | None, typer.Option(help="Where it ends, in seconds.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The new file; its extension chooses the container."),
    ] = None,
) -> None:
    """Cut a part out of a recording without encoding, over all of its files, finished or growing.

    MP4 begins with the picture that is on at the start, the other containers at the key frame before.
    """
    from aircheck.cli.cutting import clip_target

    clip_target(target, start, end, output, _settings(config).catalog_path)


@app.command()
def join(
    targets: Annotated[
        list[str], typer.Argument(help="Files in their order, or a recording's id in the catalogue.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The new file; its extension chooses the container.")
    ],
    config: Config = None,
) -> None:
    """Put files one behind the other without encoding: those of a rotated recording become the stream."""
    from aircheck.cli.cutting import join_targets

    join_targets(targets, output, _settings(config).catalog_path)


@app.command()
def recover(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders to search for them.", exists=True)],
    force: Annotated[
        bool, typer.Option("--force", help="Also files that do not bear the recorder's note.")
    ] = False,
) -> None:
    """Make files whole that a crash left unfinished; whole files and those of others are not touched.

    The server does this by itself at its next start. This is for files on another machine or disk.
    """
    from aircheck.cli.recovering import recover_files

    files = [file for path in paths for file in _media_files(path)]
    if not files:
        raise ConfigError("no media files there", remedy="Name files, or a folder that holds some.")
    raise typer.Exit(0 if recover_files(files, force=force) else EXIT_FAILED)


@app.command("check")
def check_catalogue(
    config: Config = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Put rows for files that have none; no file is touched, no row deleted."
        ),
    ] = False,
) -> None:
    """Compare the catalogue with the files, whether the server runs or not."""
    from aircheck.cli.checking import check_recordings

    settings = _settings(config)
    if not repair and not exists(settings.catalog_path):
        raise ConfigError(
            f"there is no catalogue at {settings.catalog_path}",
            remedy="check --repair makes one from the files in the record folder.",
        )
    is_clean = asyncio.run(check_recordings(settings, repair=repair))
    raise typer.Exit(0 if is_clean else EXIT_FAILED)


@app.command("settings")
def show_settings(
    config: Config = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Instead the reference of all settings, Markdown.")
    ] = False,
) -> None:
    """Check the settings and show every one of them as it is in force."""
    if markdown:
        from aircheck.settings.reference import reference_page

        typer.echo(reference_page(), nl=False)
    else:
        views.show_settings(_settings(config))


@app.command("import")
def import_settings(
    file: Annotated[Path, typer.Argument(help="flashphoner.properties of a Flashphoner WCS.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a new file there instead of printing.")
    ] = None,
) -> None:
    """Turn the settings of another server into TOML; what cannot be kept is told on standard error."""
    imported = import_properties(file)
    text = to_toml(imported, file)
    if output is None:
        typer.echo(text, nl=False)
    else:
        _write_new(output, text)
    views.show_import(imported)


@app.command("cert")
def make_certificate(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(help="Names and addresses that clients will use. Default: those of this machine."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--dir", help="Where cert.pem and key.pem go; nothing is replaced.")
    ] = Path(),
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = 825,
) -> None:
    """Make a certificate signed by itself, and say which settings turn TLS on.

    Browsers and players warn of it until they are told to trust it. For the public take one of an authority.
    """
    from aircheck.cli.certifying import default_hosts, write_certificate

    cert, key = write_certificate(folder, hosts or default_hosts(), days)
    views.show_certificate(cert, key)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"aircheck {__version__}")


def _settings(config: Path | None, host: str | None = None) -> Settings:
    settings = load_settings(config)
    return settings if host is None else settings.with_host(host)


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists", remedy="Give another name, or move it away.") from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", remedy="Give another name with -o."
        ) from error


async def _read_recordings(
    path: Path, stream: str | None, limit: int
) -> list[tuple[RecordingFacts, tuple[SegmentFacts, ...]]]:
    """Recordings with their files."""
    from aircheck.catalog import Catalog

    catalog = await Catalog.open(path)
    try:
        page = await catalog.recordings(stream_name=stream, limit=limit)
        files = await catalog.segments_of([facts.id for facts in page.items])
    finally:
        await catalog.close()
    return [_as_of_now(facts, files[facts.id]) for facts in page.items]


def _states_of_now(settings: Settings, recordings: Sequence[RecordingFacts]) -> list[str]:
    """`interrupted` is what a server that is no more has left; its next start makes it whole."""
    from aircheck.recording.folder_lock import FolderLock

    over = (RecordingState.COMPLETE, RecordingState.FAILED)
    if all(facts.state in over for facts in recordings):
        return [facts.state.value for facts in recordings]
    is_running = FolderLock.is_held(settings.record.own_folders, settings.catalog.path)
    return [facts.state.value if is_running or facts.state in over else "interrupted" for facts in recordings]


def _as_of_now(
    facts: RecordingFacts, files: tuple[SegmentFacts, ...]
) -> tuple[RecordingFacts, tuple[SegmentFacts, ...]]:
    """Rows get their sums when a file is complete; until then the growing file itself tells."""
    if all(file.state is SegmentState.COMPLETE for file in files):
        return facts, files
    files = tuple(_measured(file) for file in files)
    size_bytes, duration_ms = sum(file.size_bytes for file in files), sum(file.duration_ms for file in files)
    return replace(facts, size_bytes=size_bytes, duration_ms=duration_ms), files


def _measured(file: SegmentFacts) -> SegmentFacts:
    """A growing file's size, and its length as the time from its start to its last write."""
    if file.state is SegmentState.COMPLETE:
        return file
    try:
        status = Path(file.path).stat()
    except OSError:
        return file
    duration_ms = max(0, (status.st_mtime_ns - file.start_ns) // 1_000_000)
    return replace(file, size_bytes=status.st_size, duration_ms=duration_ms)


def _media_files(path: Path) -> Iterator[Path]:
    """The file itself; of a folder all that are called like a recording, in any container."""
    from aircheck.containers.capability import Container

    if not path.is_dir():
        return iter([path])
    extensions = {f".{container}" for container in Container}
    return iter(sorted(file for file in path.rglob("*") if file.suffix in extensions and file.is_file()))
