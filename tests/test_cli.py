"""The command as people meet it: its help, its errors, its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tomllib
from asyncio.subprocess import PIPE
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from helpers import appended, appended_streams
from helpers.facts_samples import a_recording, a_segment
from helpers.mp4_streams import media, open_writer

from aircheck import __version__
from aircheck.catalog import Catalog
from aircheck.cli import main
from aircheck.cli.importing import settings_over
from aircheck.containers.mp4 import Mp4Writer
from aircheck.containers.recover import inspect_file
from aircheck.facts import RecordingFacts, RecordingState, SegmentFacts, SegmentState
from aircheck.recording.folder_lock import FolderLock
from aircheck.settings import load_settings


async def put_recording(folder: Path, recording: RecordingFacts) -> None:
    catalog = await Catalog.open(folder / "records" / ".aircheck" / "aircheck.db")
    await catalog.put_recording(recording)
    await catalog.close()


async def put_segment(folder: Path, segment: SegmentFacts) -> None:
    catalog = await Catalog.open(folder / "records" / ".aircheck" / "aircheck.db")
    await catalog.put_segment(segment)
    await catalog.close()


@dataclass(frozen=True, slots=True)
class Answer:
    returncode: int | None
    stdout: str
    stderr: str


Aircheck = Callable[..., Answer]


@pytest.fixture
def aircheck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Aircheck:
    """Runs the command in an empty folder, as the installed one does, without a process of its own."""
    for name in [name for name in os.environ if name.startswith("AIRCHECK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["aircheck", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Answer(code if isinstance(code, int) else None, out, err)

    return run


async def put_recordings(folder: Path) -> None:
    path = folder / "records" / ".aircheck" / "aircheck.db"
    path.parent.mkdir(parents=True)
    catalog = await Catalog.open(path)
    await catalog.put_many(
        a_recording("r1", stream_name="old", start_ns=10**18),
        a_segment("s1", "r1", file_name="old.mp4"),
        a_recording("r2", stream_name="new", start_ns=2 * 10**18),
    )
    await catalog.close()


def test_the_help_names_every_command(aircheck: Aircheck) -> None:
    answer = aircheck("--help")
    assert answer.returncode == 0
    for command in ("serve", "demo", "ls", "inspect", "recover", "check", "settings", "import", "version"):
        assert command in answer.stdout


@pytest.mark.parametrize("command", ["serve", "demo", "ls", "inspect", "recover", "check", "settings"])
def test_every_command_explains_itself(aircheck: Aircheck, command: str) -> None:
    answer = aircheck(command, "--help")
    assert answer.returncode == 0
    assert len(answer.stdout) > 200


def test_the_version_is_told(aircheck: Aircheck) -> None:
    assert aircheck("version").stdout == f"aircheck {__version__}\n"
    assert aircheck("--version").stdout == f"aircheck {__version__}\n"


def test_a_wrong_setting_is_refused_in_words_without_a_traceback(aircheck: Aircheck, tmp_path: Path) -> None:
    (tmp_path / "aircheck.toml").write_text("[rtmp]\nlissten = ':1'\n")
    answer = aircheck("serve")
    assert answer.returncode == 2
    assert "aircheck.toml:2: unknown setting rtmp.lissten" in answer.stderr
    assert "Did you mean listen?" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_wrong_word_is_a_usage_error(aircheck: Aircheck) -> None:
    assert aircheck("record").returncode == 2
    assert aircheck("ls", "--limit", "0").returncode == 2


def test_settings_in_force_are_shown_and_secrets_are_not(
    aircheck: Aircheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRCHECK_RTMP__LISTEN", ":7")
    monkeypatch.setenv("AIRCHECK_ACCESS__PUBLISH_KEYS", '["geheim"]')
    answer = aircheck("settings")
    assert '":7"' in answer.stdout
    assert "durability_interval_ms" in answer.stdout
    assert "geheim" not in answer.stdout


def test_the_reference_of_settings_is_printed(aircheck: Aircheck) -> None:
    assert aircheck("settings", "--markdown").stdout.startswith("# Settings")


def test_a_setting_with_two_letters_swapped_is_recognized(aircheck: Aircheck, tmp_path: Path) -> None:
    (tmp_path / "aircheck.toml").write_text('[record]\ndri = "x"\n')
    assert "Did you mean dir?" in aircheck("settings").stderr


@pytest.mark.parametrize("command", [("ls",), ("check",), ("inspect", "camera.mp4")])
def test_a_folder_that_may_not_be_looked_into_is_named(
    aircheck: Aircheck, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    look = Path.stat

    def refuse(path: Path, **how: bool) -> os.stat_result:
        if path.suffix in (".db", ".mp4"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **how)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        answer = aircheck(*command)
    assert answer.returncode == 2
    assert "cannot be looked at: Permission denied" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_what_is_too_long_for_a_file_name_is_no_file(aircheck: Aircheck) -> None:
    assert "there is no file xxx" in aircheck("inspect", "x" * 300).stderr


def test_a_catalogue_that_is_none_is_named_by_its_path(aircheck: Aircheck, tmp_path: Path) -> None:
    path = tmp_path / "records" / ".aircheck" / "aircheck.db"
    path.parent.mkdir(parents=True)
    path.write_text("garbage")
    answer = aircheck("ls")
    assert answer.returncode == 1
    assert "the catalogue records/.aircheck/aircheck.db: file is not a database" in answer.stderr


def test_listing_makes_no_catalogue_where_there_is_none(aircheck: Aircheck, tmp_path: Path) -> None:
    answer = aircheck("ls")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "No recordings yet" in answer.stdout
    assert list(tmp_path.iterdir()) == []
    assert json.loads(aircheck("ls", "--json").stdout) == []


def test_recordings_are_listed_newest_first(aircheck: Aircheck, tmp_path: Path) -> None:
    asyncio.run(put_recordings(tmp_path))
    _, first, second = aircheck("ls").stdout.splitlines()
    assert "new" in first
    assert "old.mp4" in second
    found = json.loads(aircheck("ls", "--json").stdout)
    assert [recording["id"] for recording in found] == ["r2", "r1"]
    assert found[1]["segments"][0]["file_name"] == "old.mp4"
    names = {field.name for field in fields(RecordingFacts)} | {"segments"}
    assert [set(recording) for recording in found] == [names, names], "keys are there whatever their values"
    assert set(found[1]["segments"][0]) == {field.name for field in fields(SegmentFacts)}
    filtered = json.loads(aircheck("ls", "--json", "--stream", "old").stdout)
    assert [recording["id"] for recording in filtered] == ["r1"]
    assert "No recordings of a stream 'neither'" in aircheck("ls", "--stream", "neither").stdout


def test_a_growing_recording_is_listed_with_its_size_of_now(aircheck: Aircheck, tmp_path: Path) -> None:
    asyncio.run(put_recordings(tmp_path))
    growing = tmp_path / "growing.mp4"
    growing.write_bytes(bytes(5000))
    os.utime(growing, ns=(10**18 + 7 * 10**9, 10**18 + 7 * 10**9))
    asyncio.run(put_segment(tmp_path, a_segment("s1", "r1", path=str(growing), start_ns=10**18)))
    (line,) = (line for line in aircheck("ls").stdout.splitlines() if "old" in line)
    assert "0:00:07" in line
    assert "5.0 kB" in line


def test_what_a_dead_server_was_recording_is_interrupted_and_that_of_a_living_one_is_not(
    aircheck: Aircheck, tmp_path: Path
) -> None:
    asyncio.run(put_recordings(tmp_path))
    for recording_id, state in (("r2", RecordingState.RECORDING), ("r1", RecordingState.COMPLETE)):
        facts = a_recording(recording_id, state=state, start_ns=int(recording_id[1]) * 10**18)
        asyncio.run(put_recording(tmp_path, facts))

    def told() -> list[str]:
        return [recording["state"] for recording in json.loads(aircheck("ls", "--json").stdout)]

    assert told() == ["interrupted", "complete"]
    assert "interrupted" in aircheck("ls").stdout
    lock = FolderLock([tmp_path / "records" / ".aircheck"])
    assert told() == ["recording", "complete"]
    lock.release()


async def test_recordings_are_listed_while_the_server_has_the_catalogue_open(tmp_path: Path) -> None:
    await put_recordings(tmp_path)
    catalog = await Catalog.open(tmp_path / "records" / ".aircheck" / "aircheck.db")
    try:
        listing = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aircheck", "ls", "--json", cwd=tmp_path, stdout=PIPE
        )
        out, _ = await asyncio.wait_for(listing.communicate(), 60)
    finally:
        await catalog.close()
    assert [recording["id"] for recording in json.loads(out)] == ["r2", "r1"]


def test_what_the_server_keeps_for_itself_is_no_file_of_somebody_else(
    aircheck: Aircheck, tmp_path: Path
) -> None:
    asyncio.run(put_recordings(tmp_path))
    hidden = tmp_path / "records" / ".aircheck"
    FolderLock([hidden]).release()
    (hidden / "hooks").mkdir()
    (hidden / "hooks" / "s1.json").write_text("{}")
    (tmp_path / "records" / "notes.txt").write_text("mine")
    assert " 1 files: " in aircheck("check").stdout
    assert "1 not ours" in aircheck("check").stdout


def test_a_check_without_catalogue_says_how_to_make_one(aircheck: Aircheck, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    answer = aircheck("check")
    assert answer.returncode == 2
    assert "--repair" in answer.stderr
    answer = aircheck("check", "--repair")
    assert answer.returncode == 0
    assert "0 rows" in answer.stdout


def test_a_check_finds_what_is_missing(aircheck: Aircheck, tmp_path: Path) -> None:
    asyncio.run(put_recordings(tmp_path))
    answer = aircheck("check")
    assert answer.returncode == 1
    assert "the file is not there" in answer.stdout


def test_a_check_after_a_crash_says_what_was_left_and_beside_a_server_what_grows(
    aircheck: Aircheck, tmp_path: Path
) -> None:
    asyncio.run(put_recordings(tmp_path))
    growing = tmp_path / "records" / "growing.mp4"
    growing.write_bytes(bytes(5000))
    for row in (
        a_segment("s1", "r1", path=str(growing)),
        a_segment("s2", "r2", path="", state=SegmentState.FAILED),
    ):
        asyncio.run(put_segment(tmp_path, row))
    answer = aircheck("check")
    assert answer.returncode == 1
    assert "growing.mp4: unfinished, and nobody writes it: a crash left it" in answer.stdout
    assert "aircheck recover" in answer.stdout
    assert "0 growing, 1 to be finished" in answer.stdout
    lock = FolderLock([tmp_path / "records" / ".aircheck"])
    answer = aircheck("check")
    assert (answer.returncode, "1 growing, 0 to be finished" in answer.stdout) == (0, True)
    os.utime(growing, (1, 1))
    assert "a crash left it" in aircheck("check").stdout
    with growing.open("ab"):
        answer = aircheck("check")
    assert (answer.returncode, "1 growing, 0 to be finished" in answer.stdout) == (0, True), "it is paused"
    lock.release()


def write_half(path: Path) -> Mp4Writer:
    """A recording as a crash leaves it: three seconds on disk, the file still open here."""
    writer = open_writer(path)
    writer.write(media(3))
    writer.flush()
    return writer


def test_a_torn_file_is_made_whole_and_a_whole_one_is_left(aircheck: Aircheck, tmp_path: Path) -> None:
    growing = tmp_path / "growing.mp4"
    writer = write_half(growing)
    torn = tmp_path / "torn.mp4"
    shutil.copy(growing, torn)
    with torn.open("ab") as file:
        file.write(b"\0\0\0\x20moof")
    writer.close()
    answer = aircheck("recover", "torn.mp4")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("torn.mp4: recovered, 0:00:0")
    assert inspect_file(torn).is_final
    again = aircheck("recover", "torn.mp4")
    assert (again.returncode, again.stdout) == (0, "torn.mp4: whole already\n")


def test_a_file_that_somebody_is_writing_is_left_alone(aircheck: Aircheck, tmp_path: Path) -> None:
    writer = write_half(tmp_path / "growing.mp4")
    before = (tmp_path / "growing.mp4").read_bytes()
    answer = aircheck("recover", ".")
    assert answer.returncode == 1
    assert "another program is writing it" in answer.stdout
    assert (tmp_path / "growing.mp4").read_bytes() == before
    writer.close()


def test_a_file_of_others_is_left_alone(aircheck: Aircheck, tmp_path: Path) -> None:
    (tmp_path / "theirs.mp4").write_bytes(b"not a recording")
    answer = aircheck("recover", "theirs.mp4")
    assert answer.returncode == 1
    assert "not a recording of this program" in answer.stdout
    assert (tmp_path / "theirs.mp4").read_bytes() == b"not a recording"


def test_a_folder_without_recordings_is_a_usage_error(aircheck: Aircheck) -> None:
    answer = aircheck("recover", ".")
    assert answer.returncode == 2
    assert "no media files there" in answer.stderr


def test_a_folder_is_searched_for_files_of_every_container(aircheck: Aircheck, tmp_path: Path) -> None:
    for name in ("flv", "mkv", "ts"):
        writer = appended.open_writer(tmp_path / f"growing.{name}", appended_streams.TRACKS)
        writer.write(appended_streams.media(2))
        writer.flush()
        writer.close()
    (tmp_path / "notes.txt").write_text("no recording")
    answer = aircheck("recover", ".")
    assert answer.returncode == 0
    told = [line.split(",")[0] for line in answer.stdout.splitlines()]
    assert told == [f"growing.{name}: recovered" for name in ("flv", "mkv", "ts")]


PROPERTIES = "ws.port=8080\nrecord_dir=/mnt/films\nrecord_rotation=20\nrecord_audio_buffer_max_size=9\n"


def test_import_prints_settings_that_can_be_used(aircheck: Aircheck) -> None:
    Path("fp.properties").write_text(PROPERTIES + 'exclude_record_name_characters=\\u007f"\\\\ä\n')
    answer = aircheck("import", "fp.properties")
    assert answer.returncode == 0
    record = tomllib.loads(answer.stdout)["record"]
    assert record == {"name_exclude_characters": '\x7f"\\ä', "rotation": "20", "dir": "/mnt/films"}
    assert "warning: fp.properties:4: record_audio_buffer_max_size: " in answer.stderr
    assert "nothing to do with recordings: ws.port" in answer.stderr
    Path("aircheck.toml").write_text(answer.stdout)
    assert load_settings().record.dir == Path("/mnt/films")


def test_import_writes_a_new_file_and_never_over_another(aircheck: Aircheck) -> None:
    Path("fp.properties").write_text(PROPERTIES)
    assert aircheck("import", "fp.properties", "-o", "new.toml").returncode == 0
    written = Path("new.toml").read_text()
    assert "record_audio_buffer_max_size" in written
    answer = aircheck("import", "fp.properties", "-o", "new.toml")
    assert (answer.returncode, Path("new.toml").read_text()) == (2, written)
    assert "new.toml exists" in answer.stderr


def test_import_refuses_with_line_and_remedy(aircheck: Aircheck) -> None:
    Path("fp.properties").write_text("record_rotation=often\n")
    answer = aircheck("import", "fp.properties")
    assert answer.returncode == 2
    assert 'fp.properties:1: record_rotation: "often" is no rotation' in answer.stderr
    assert "take the lines out" in answer.stderr


def test_settings_and_environment_win_over_properties(
    aircheck: Aircheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("fp.properties").write_text(PROPERTIES + "record_rotation_index_enabled=false\n")
    Path("aircheck.toml").write_text("[record]\nrotation = '5M'\n[log]\nlevel = 'error'\n")
    monkeypatch.setenv("AIRCHECK_RECORD__DIR", "/mnt/environment")
    settings, _ = settings_over(Path("fp.properties"), None, "0.0.0.0")
    assert settings.record.rotation.size_bytes == 5_000_000
    assert settings.record.dir == Path("/mnt/environment")
    assert not settings.record.rotation_index
    assert settings.log.level == "error"
    assert settings.rtmp.listen.host == "0.0.0.0"


def test_a_property_that_the_settings_refuse_is_told_with_its_file(aircheck: Aircheck) -> None:
    Path("fp.properties").write_text("record_tmp_dir=/mnt/x\n")
    Path("aircheck.toml").write_text("[http]\n[record]\ndir = '/mnt/x'\n")
    answer = aircheck("serve", "--flashphoner-properties", "fp.properties")
    assert answer.returncode == 2
    assert "tmp_dir is dir itself" in answer.stderr
