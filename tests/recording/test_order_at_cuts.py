"""In which order the disk gets the packets around a cut: a crash at any job costs only the stream's end."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.packets import av_batches, new_stream
from helpers.recorder_rig import Rig, make_plan, sent

from aircheck.media.packet import Packet
from aircheck.recording.rotation import RotationRule
from aircheck.recording.segment import _Finish, _Write
from aircheck.recording.volume import Job, Volume


@pytest.mark.parametrize("batch_ms", [60, 200, 330])
async def test_a_track_never_goes_on_in_the_next_file_before_this_one_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_ms: int
) -> None:
    jobs: list[Job] = []
    submit = Volume.submit

    def watched(volume: Volume, job: Job) -> None:
        jobs.append(job)
        submit(volume, job)

    monkeypatch.setattr(Volume, "submit", watched)
    plan = make_plan(tmp_path, rotation=RotationRule(duration_ms=1000))
    batches = list(av_batches(5000, gop_ms=500, batch_ms=batch_ms))
    async with Rig(tmp_path) as rig:
        await rig.record(new_stream(), batches, plan, pause_s=0.002)
    on_disk: list[Packet] = []
    finished = set[int]()
    for job in jobs:
        if isinstance(job, _Finish):
            finished.add(job.segment.facts.index)
        elif isinstance(job, _Write):
            before = range(1, job.segment.facts.index)
            if any(not packet.track.is_video for packet in job.packets):
                assert finished.issuperset(before)
            on_disk += job.packets
    assert len(finished) == 5
    for kind, whole in sent(batches).items():
        assert [bytes(packet.data) for packet in on_disk if packet.track.kind == kind] == whole
