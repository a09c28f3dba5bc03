"""Hooks: real scripts that work, fail, hang, are missing, come by the thousand, and are never forgotten."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from helpers.facts_samples import SECOND_NS, START_NS, a_recording, a_segment
from helpers.packets import av_batches, new_stream
from helpers.patience import PATIENCE_S
from helpers.recorded import at_rest
from helpers.recorder_rig import MemoryJournal, Rig, feed, make_plan

from aircheck.clock import SystemClock
from aircheck.facts import EndReason, EventKind, SegmentFacts, SegmentState
from aircheck.recording import hooks as hooks_module
from aircheck.recording import recovery
from aircheck.recording.hook_facts import HOOK_VARIABLES, hook_variables
from aircheck.recording.hooks import HookPlan, Hooks, HookStatus
from aircheck.recording.rotation import RotationRule
from aircheck.settings import load_settings

RECORDING = a_recording()
DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "hooks.md"


def a_file(segment_id: str = "g1", **changes: object) -> SegmentFacts:
    facts: dict[str, object] = {
        "state": SegmentState.COMPLETE,
        "path": f"/records/{segment_id}.mp4",
        "end_ns": START_NS + 20 * SECOND_NS,
    }
    return a_segment(segment_id, **(facts | changes))


def write_script(folder: Path, text: str, *, mode: int = 0o755, shebang: str = "#!/bin/sh\n") -> Path:
    folder.mkdir(exist_ok=True)
    script = folder / "hook.sh"
    script.write_text(shebang + text)
    script.chmod(mode)
    return script


class World:
    """Hooks with a script of their own, and what became of them."""

    def __init__(self, folder: Path, script: Path | None, **plan: float) -> None:
        self.folder = folder
        self.journal = MemoryJournal()
        self.waiting_dir = folder / "waiting"
        self.hooks = Hooks(
            HookPlan(script, self.waiting_dir, **plan),  # type: ignore[arg-type]
            self.journal,
            SystemClock(),
        )

    @asynccontextmanager
    async def running(self, stop_s: float = 10) -> AsyncIterator[World]:
        async with asyncio.timeout(PATIENCE_S):
            await self.hooks.start()
            try:
                yield self
            finally:
                await self.hooks.stop(stop_s)

    @property
    def notes(self) -> list[str]:
        return sorted(path.name for path in self.waiting_dir.glob("*"))

    @property
    def outcomes(self) -> list[tuple[EventKind, object]]:
        return [(event.kind, event.facts.get("error")) for event in self.journal.events]


async def run_one(folder: Path, script: Path | None, segment: SegmentFacts, **plan: float) -> World:
    world = World(folder, script, **plan)
    async with world.running():
        await world.hooks.file_finished(RECORDING, segment)
    return world


async def test_a_script_gets_the_name_the_path_and_the_facts(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = write_script(tmp_path, f'printf "%s|" "$#" "$1" "$2" > {out}; env >> {out}')
    world = await run_one(tmp_path, script, a_file(size_bytes=7, is_recovered=True))
    arguments, _, variables = out.read_text().rpartition("|")
    assert arguments == "2|gate|/records/g1.mp4"
    assert {"AIRCHECK_SIZE_BYTES=7", "AIRCHECK_IS_RECOVERED=true", "AIRCHECK_LOGIN=ann"} <= set(
        variables.split("\n")
    )
    assert world.outcomes == [(EventKind.HOOK_DONE, None)]
    assert world.notes == []
    assert world.hooks.status().done == 1


def test_every_fact_is_told_and_every_variable_documented() -> None:
    segment = a_file(index=3, start_pts_ms=40, duration_ms=19_960, start_ns=START_NS + 7_000_000)
    told = hook_variables(a_recording(end_reason=EndReason.STOPPED), segment)
    assert told["AIRCHECK_START_TIME"] == "2025-11-21T04:40:00.007Z"
    assert told["AIRCHECK_END_TIME"] == "2025-11-21T04:40:20.000Z"
    assert told["AIRCHECK_END_REASON"] == "stopped"
    assert (told["AIRCHECK_SEGMENT_INDEX"], told["AIRCHECK_DURATION_MS"]) == ("3", "19960")
    assert [track["codec"] for track in json.loads(told["AIRCHECK_TRACKS"])] == ["h264", "aac"]
    page = DOCUMENT.read_text()
    assert [name for name in HOOK_VARIABLES if f"`{name}`" not in page] == []


def test_a_hook_may_run_this_programs_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AIRCHECK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, value in hook_variables(RECORDING, a_file()).items():
        monkeypatch.setenv(name, value)
    assert load_settings().record.enabled


@pytest.mark.parametrize(
    "name", ["a b", 'it\'s "so"', "two\nlines", "-rf", "$(touch /tmp/x)", "ünï", "\udcff", "", "*"]
)
async def test_weird_names_arrive_as_they_are(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    for mode, kind in ((0o755, "own"), (0o644, "sh")):
        script = write_script(tmp_path / kind, f'printf "%s" "$1" > {out}', mode=mode)
        hooks = Hooks(HookPlan(script, tmp_path / "w"), MemoryJournal(), SystemClock())
        await hooks.file_finished(a_recording(stream_name=name), a_file())
        await hooks.stop(10)
        assert os.fsdecode(out.read_bytes()) == name


async def test_a_file_of_several_streams_has_a_script_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = write_script(tmp_path / "one", f"echo one >> {out}")
    for_several = write_script(tmp_path / "several", f'echo "$@" >> {out}')
    hooks = Hooks(
        HookPlan(script, tmp_path / "w", script_for_several=for_several), MemoryJournal(), SystemClock()
    )
    mix = a_recording(stream_name="room", media_session_id="multi-recorder://room")
    await hooks.file_finished(mix, a_file(path="/r/multi-recorder___room.mp4", duration_ms=1234))
    await hooks.stop(10)
    start_ms = a_file().start_ns // 1_000_000
    assert out.read_text() == f"/r/multi-recorder___room.mp4 {start_ms} 1234 multi-recorder://room\n"


@pytest.mark.parametrize("readable", [True, False])
async def test_a_script_that_cannot_be_run_is_told_of_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, readable: bool
) -> None:
    script = write_script(tmp_path, "true") if readable else tmp_path / "mistyped.sh"
    async with World(tmp_path, script).running():
        pass
    assert ("hook cannot be run" in caplog.text) is not readable


async def test_a_name_that_no_program_can_be_given_is_changed_not_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = write_script(tmp_path, f'printf "%s" "$1" > {out}')
    world = World(tmp_path, script)
    async with world.running():
        await world.hooks.file_finished(a_recording(stream_name="a\0b\ud800"), a_file())
    assert out.read_text() == "a_b?"


@pytest.mark.parametrize(("mode", "shebang"), [(0o644, "#!/bin/false\n"), (0o755, ""), (0o644, "")])
async def test_a_script_that_does_not_run_by_itself_is_run_by_the_shell(
    tmp_path: Path, mode: int, shebang: str
) -> None:
    out = tmp_path / "out"
    script = write_script(tmp_path, f'echo "$2" > {out}', mode=mode, shebang=shebang)
    await run_one(tmp_path, script, a_file())
    assert out.read_text() == "/records/g1.mp4\n"


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="needs: apt-get install bash")
async def test_a_script_that_does_not_say_so_may_be_of_bash(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = write_script(tmp_path, f'echo "${{2/records/media}}" > {out}', shebang="")
    await run_one(tmp_path, script, a_file())
    assert out.read_text() == "/media/g1.mp4\n"


async def test_a_program_runs_by_itself(tmp_path: Path) -> None:
    world = await run_one(tmp_path, Path("/bin/true"), a_file())
    assert world.outcomes == [(EventKind.HOOK_DONE, None)]


@pytest.mark.parametrize(
    ("text", "error"), [("exit 3", "exit status 3"), ("kill -SEGV $$", "ended by SIGSEGV")]
)
async def test_a_script_that_fails_is_told_and_not_run_again(tmp_path: Path, text: str, error: str) -> None:
    world = await run_one(tmp_path, write_script(tmp_path, text), a_file())
    assert world.outcomes == [(EventKind.HOOK_FAILED, error)]
    assert world.notes == []
    assert world.hooks.status().failed == 1


async def test_a_missing_script_is_told_and_its_files_wait_for_the_next_start(tmp_path: Path) -> None:
    script = tmp_path / "hook.sh"
    world = await run_one(tmp_path, script, a_file())
    ((kind, error),) = world.outcomes
    assert kind is EventKind.HOOK_FAILED
    assert "cannot be started" in str(error)
    assert world.hooks.status().kept == 1
    assert world.notes == ["g1.json"]
    write_script(tmp_path, "exit 0")
    again = World(tmp_path, script)
    async with again.running():
        pass
    assert again.outcomes == [(EventKind.HOOK_DONE, None)]
    assert again.notes == []


async def test_a_script_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = write_script(tmp_path, f"trap '' TERM; sleep 600 & echo $! $$ > {pids}; sleep 600")
    world = await run_one(tmp_path, script, a_file(), timeout_s=0.5)
    ((kind, error),) = world.outcomes
    assert kind is EventKind.HOOK_FAILED
    assert "ended after 0.5 s" in str(error)
    assert [pid for pid in pids.read_text().split() if is_running(pid)] == []
    assert world.notes == []


async def test_what_a_script_leaves_in_the_background_holds_nobody_up(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    world = await run_one(tmp_path, write_script(tmp_path, f"sleep 600 & echo $! > {pid}"), a_file())
    assert world.outcomes == [(EventKind.HOOK_DONE, None)]
    assert is_running(pid.read_text().strip())
    os.kill(int(pid.read_text()), 9)


async def test_output_is_logged_by_lines_and_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    script = write_script(
        tmp_path, "echo out; echo err >&2; head -c 5000 /dev/zero | tr '\\0' x; echo; seq 100000; printf end"
    )
    world = await run_one(tmp_path, script, a_file())
    said = [record.args[-1] for record in caplog.records if record.msg.startswith("hook says")]  # type: ignore[index]
    assert said[:4] == ["out", "err", "x" * 1000, "1"]
    assert len(said) == 101
    assert str(said[-1]).startswith("… and 5")
    assert world.outcomes == [(EventKind.HOOK_DONE, None)]


async def test_a_script_that_talks_for_ever_does_not_keep_the_loop(tmp_path: Path) -> None:
    world = World(tmp_path, write_script(tmp_path, "exec yes"), timeout_s=1)
    async with world.running():
        await world.hooks.file_finished(RECORDING, a_file())
        turns = 0
        while not world.journal.events:
            await asyncio.sleep(0.01)
            turns += 1
    assert turns > 3


async def test_a_thousand_at_once_all_run_a_few_at_a_time(tmp_path: Path) -> None:
    out, go = tmp_path / "out", tmp_path / "go"
    script = write_script(tmp_path, f'until [ -e {go} ]; do sleep 0.05; done; echo "$2" >> {out}')
    world = World(tmp_path, script, max_parallel=4)
    async with asyncio.timeout(2 * PATIENCE_S):
        await asyncio.gather(
            *(world.hooks.file_finished(RECORDING, a_file(f"g{number}")) for number in range(1000))
        )
        assert world.hooks.status() == HookStatus(waiting=996, running=4)
        go.touch()
        while (status := world.hooks.status()).done < 1000:
            assert status.running <= 4
            assert status.waiting + status.running + status.done == 1000
            await asyncio.sleep(0.001)
        await world.hooks.stop(PATIENCE_S)
    assert sorted(out.read_text().split()) == sorted(f"/records/g{number}.mp4" for number in range(1000))
    assert world.hooks.status().done == 1000
    assert world.notes == []


async def test_too_many_are_refused_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "WAITING_MAX", 2)
    go = tmp_path / "go"
    script = write_script(tmp_path, f"until [ -e {go} ]; do sleep 0.05; done")
    world = World(tmp_path, script, max_parallel=1)
    async with world.running():
        for number in range(5):
            await world.hooks.file_finished(RECORDING, a_file(f"g{number}"))
        assert world.hooks.status().refused == 2
        go.touch()
    assert world.hooks.status().done == 3
    assert world.outcomes.count((EventKind.HOOK_FAILED, "2 hooks wait already")) == 2


async def test_what_a_stop_cuts_off_or_leaves_is_run_after_the_next_start(tmp_path: Path) -> None:
    out = tmp_path / "out"
    slow = World(tmp_path, write_script(tmp_path, "sleep 600"), max_parallel=1)
    async with slow.running(stop_s=0.2):
        for number in range(3):
            await slow.hooks.file_finished(RECORDING, a_file(f"g{number}", end_ns=START_NS + number))
    assert slow.notes == ["g0.json", "g1.json", "g2.json"]
    assert slow.outcomes == []
    again = World(tmp_path, write_script(tmp_path, f'echo "$2" >> {out}'), max_parallel=1)
    async with again.running():
        assert again.hooks.status().waiting + again.hooks.status().running == 3
    assert out.read_text().split() == ["/records/g0.mp4", "/records/g1.mp4", "/records/g2.mp4"]
    assert again.notes == []


async def test_a_file_that_is_told_twice_has_one_hook(tmp_path: Path) -> None:
    out = tmp_path / "out"
    world = World(tmp_path, write_script(tmp_path, f"echo run >> {out}; sleep 0.2"))
    async with world.running():
        await world.hooks.file_finished(RECORDING, a_file())
        await world.hooks.file_finished(RECORDING, a_file())
    assert out.read_text() == "run\n"


async def test_a_file_that_went_on_meanwhile_has_another_hook(tmp_path: Path) -> None:
    script = write_script(tmp_path, f'echo "$AIRCHECK_SIZE_BYTES" >> {tmp_path}/calls; sleep 0.2')
    world = World(tmp_path, script)
    async with world.running():
        await world.hooks.file_finished(RECORDING, a_file(size_bytes=1000))
        await world.hooks.file_finished(RECORDING, a_file(size_bytes=1000))
        await asyncio.sleep(0.1)
        await world.hooks.file_finished(RECORDING, a_file(size_bytes=2000))
        assert world.notes == ["g1.json"]
    assert (tmp_path / "calls").read_text().split() == ["1000", "2000"]
    assert world.notes == []


async def test_a_note_that_cannot_be_written_costs_no_hook(tmp_path: Path) -> None:
    (tmp_path / "waiting").write_text("in the way")
    world = await run_one(tmp_path, write_script(tmp_path, "exit 0"), a_file())
    assert (EventKind.HOOK_DONE, None) in world.outcomes


async def test_broken_notes_and_halves_of_notes_disturb_nobody(tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    waiting.mkdir()
    (waiting / "x.json").write_text("{")
    (waiting / "y.part").write_text("{")
    world = await run_one(tmp_path, write_script(tmp_path, "exit 0"), a_file())
    assert world.hooks.status().done == 1
    assert world.notes == ["x.json"]


async def test_without_a_script_nothing_waits(tmp_path: Path) -> None:
    world = await run_one(tmp_path, None, a_file())
    assert world.outcomes == []
    assert not world.waiting_dir.exists()


async def test_every_file_of_a_recording_has_its_hook(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = write_script(
        tmp_path, f'test -f "$2" && echo "$2 $AIRCHECK_SEGMENT_INDEX $AIRCHECK_DURATION_MS" >> {out}'
    )
    world = World(tmp_path, script, max_parallel=1)
    plan = make_plan(tmp_path / "records", rotation=RotationRule(duration_ms=1000))
    async with world.running(), Rig(tmp_path / "records", finished_files=world.hooks) as rig:
        await rig.record(new_stream("cam"), av_batches(3000, gop_ms=1000), plan)
    lines = [line.split() for line in out.read_text().splitlines()]
    assert [(Path(path).name, index) for path, index, _ in lines] == [
        ("cam_1.mp4", "1"),
        ("cam_2.mp4", "2"),
        ("cam_3.mp4", "3"),
    ]
    assert all(900 <= int(duration_ms) <= 1100 for *_, duration_ms in lines)


async def test_a_recovered_file_has_its_hook(tmp_path: Path) -> None:
    out, root = tmp_path / "out", tmp_path / "records"
    async with Rig(root) as rig:
        stream = new_stream("cam")
        recording = rig.recorder.record(stream, make_plan(root), requested_by="test")
        await feed(stream, av_batches(2000), pause_s=0.005)
        await at_rest(rig, recording)
        copy = tmp_path / "copy"
        await asyncio.to_thread(os.system, f"cp -r {root} {copy}")
    script = write_script(tmp_path, f'echo "$1 $2 $AIRCHECK_IS_RECOVERED $AIRCHECK_END_REASON" > {out}')
    world = World(tmp_path, script)
    async with world.running():
        plan = make_plan(copy)
        unfinished = await recovery.find_unfinished(world.journal, plan.growing_dir)
        await recovery.recover(unfinished, world.journal, plan, SystemClock(), world.hooks)
    assert out.read_text() == f"cam {copy}/cam.mp4 true crashed\n"


def is_running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False
