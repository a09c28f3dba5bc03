"""Real encoders publish what MP4 cannot hold; picture and sound are together in the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.media import FLASH_AND_BEEP, ClipSpec, MediaFolder
from helpers.probe import ProbedFile, decode_complaints, is_progressive_mp4
from helpers.publishers import publish_with_ffmpeg
from helpers.server import ServerProcess
from helpers.tools import requires

from aircheck.containers.verify import verify_file

MAX_SKEW_MS = 20
PCMA = replace(FLASH_AND_BEEP, name="pcma", audio="pcm_alaw", sample_rate=8_000, channels=1)
PCMU = replace(PCMA, name="pcmu", audio="pcm_mulaw")
SPEEX = replace(FLASH_AND_BEEP, name="speex", audio="libspeex", sample_rate=16_000, channels=1)


@requires("ffmpeg")
@pytest.mark.parametrize("spec", [PCMA, PCMU, SPEEX], ids=lambda spec: spec.name)
def test_sound_that_mp4_cannot_hold_is_recorded_as_aac(
    spec: ClipSpec, media: MediaFolder, server: ServerProcess, tmp_path: Path
) -> None:
    clip = media.clip(spec)
    publish_with_ffmpeg(clip, server.rtmp_url(spec.name), tmp_path / "ffmpeg.log")
    recorded = server.wait_for_file(spec.name)
    probed, source = ProbedFile(recorded), ProbedFile(clip)
    assert {kind: track.codec for kind, track in probed.tracks.items()} == {"video": "h264", "audio": "aac"}
    assert [p.data_hash for p in probed.tracks["video"].packets] == [
        p.data_hash for p in source.tracks["video"].packets
    ]
    assert decode_complaints(recorded) == ""
    assert is_progressive_mp4(recorded)
    verdict = verify_file(recorded)
    assert len(verdict.beeps_s) == len(verdict.flashes_s) == spec.seconds
    assert verdict.worst_skew_ms == pytest.approx(0, abs=MAX_SKEW_MS)
    assert probed.duration_s == pytest.approx(spec.seconds, abs=0.1)
