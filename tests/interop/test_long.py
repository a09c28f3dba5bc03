"""Streams that go on for long: past the extended timestamp (4 h 39 min), for half a day, past 32 bits.

The stream's own time is what is long; it is sent as fast as the server reads.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from clip import Clip
from helpers.media import ClipSpec, MediaFolder
from helpers.probe import is_progressive_mp4
from helpers.rtmp_replay import HeaderStyle, Replay, replay, small_clip
from helpers.server import ServerProcess
from helpers.tools import requires

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
EXTENDED_MS = 0xFFFFFF
WRAP_MS = 1 << 32

SMALL = ClipSpec("small", seconds=17, size="96x54", frames_per_second=5, sample_rate=8000)
SMALL_SECONDS, SMALL_AUDIO_FRAMES = 16, 125
"""Sixteen seconds hold 125 AAC frames of 8 kHz exactly."""

pytestmark = requires("ffmpeg")


@pytest.fixture(scope="module")
def clip(media: MediaFolder) -> Clip:
    return small_clip(media.clip(SMALL), SMALL_SECONDS, SMALL.frames_per_second, SMALL_AUDIO_FRAMES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server"), record=['name = "{streamName}"']) as running:
        yield running


@pytest.mark.parametrize("style", list(HeaderStyle), ids=lambda style: style.name.lower())
@pytest.mark.parametrize("boundary_ms", [EXTENDED_MS, WRAP_MS], ids=["extended", "wrap"])
def test_every_header_style_survives_the_boundary(
    boundary_ms: int, style: HeaderStyle, clip: Clip, server: ServerProcess
) -> None:
    name = f"{style.name}-{boundary_ms}".lower()
    sent = replay(server.rtmp_port, name, clip, boundary_ms - MINUTE_MS, 2 * MINUTE_MS, style)
    assert_has_all(server.wait_for_file(name), sent)


def test_half_a_day_is_recorded_packet_by_packet(clip: Clip, server: ServerProcess) -> None:
    sent = replay(server.rtmp_port, "half-a-day", clip, 0, 12 * HOUR_MS, HeaderStyle.ABSOLUTE_REPEATED)
    recorded = server.wait_for_file("half-a-day")
    recording = server.wait_for_recording("half-a-day")
    assert recording["duration_ms"] == pytest.approx(12 * HOUR_MS, abs=1000)
    assert recording["gap_count"] == recording["dropped_packets"] == 0
    assert is_progressive_mp4(recorded)
    assert_has_all(recorded, sent)


def assert_has_all(path: Path, sent: Replay) -> None:
    """Every packet that was sent is in the file, at its distance from the first one, to the millisecond."""
    for kind, expected in (("v", sent.video_ms), ("a", sent.audio_ms)):
        found = dts_ms(path, kind)
        assert len(found) == len(expected), kind
        moved = [have - want for have, want in zip(found, expected, strict=True)]
        assert max(moved) - min(moved) <= 2, f"{kind}: moved by {min(moved)} to {max(moved)} ms"
        assert all(later > earlier for earlier, later in pairwise(found))


def dts_ms(path: Path, kind: str) -> list[int]:
    """The dts of all packets of the first video (`v`) or audio (`a`) track."""
    command = ["ffprobe", "-v", "error", "-select_streams", f"{kind}:0", "-of", "csv=p=0"]
    command += ["-show_entries", "packet=dts_time", str(path)]
    answer = subprocess.run(command, check=True, capture_output=True, timeout=120, text=True)
    return [round(float(line.rstrip(",")) * 1000) for line in answer.stdout.split()]
