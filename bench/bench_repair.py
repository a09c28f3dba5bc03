"""What is repaired of media over bad paths, in simulated time: `python bench/bench_repair.py`.

The publisher of WebRTC gets the packets of a browser that sends VP8 and Opus through an impairment and
answers requests for lost packets. No socket, no clock: how busy the machine is makes no difference, as it
does for `bench_loss.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.impairment import Impairment  # noqa: E402
from helpers.packets import new_stream  # noqa: E402
from helpers.rtp_media import Batches, Publication, make_clip, repeated, track_of_clip  # noqa: E402

from aircheck.media.track import Codec, Kind  # noqa: E402
from aircheck.webrtc.port import INTERVAL_S  # noqa: E402

CLIP_S = 4
PATHS = (
    (0.02, 0.025, 0.01, 0),
    (0.05, 0.025, 0.01, 0),
    (0.05, 0.05, 0.03, 0),
    (0.05, 0.05, 0.03, 4),
    (0.05, 0.1, 0.03, 4),
    (0.05, 0.1, 0.03, 8),
)
"""Loss; delay and jitter in seconds; length of bursts. Of either direction."""

FREEZE_S = 0.2


def publication(folder: Path, minutes: float, path: tuple[float, float, float, float]) -> Publication:
    clip = make_clip(folder, Codec.VP8, Codec.OPUS, seconds=CLIP_S)
    sound = track_of_clip(clip, "0", Codec.OPUS, ssrc=1000)
    pictures = track_of_clip(clip, "1", Codec.VP8, ssrc=2000)
    times = round(minutes * 60 / CLIP_S)
    sound.frames = repeated(sound.frames[: 50 * CLIP_S], times=times, every_s=0.02, ticks=960)
    pictures.frames = repeated(pictures.frames[: 30 * CLIP_S], times=times, every_s=1 / 30, ticks=3000)
    loss, delay_s, jitter_s, burst = path
    ways = {
        name: Impairment(
            loss=loss, delay_s=delay_s, jitter_s=jitter_s, burst=burst, calm_packets=10, seed=seed
        )
        for seed, name in enumerate(("up", "down"), 1)
    }
    return Publication(new_stream(), [sound, pictures], drain_s=INTERVAL_S, **ways)


def row(folder: Path, minutes: float, path: tuple[float, float, float, float]) -> str:
    published, seen = publication(folder, minutes, path), Batches()
    published.stream.subscribe(seen)
    published.run_to_end()
    packets = [packet for batch in seen.batches for packet in batch.packets]
    pictures = [packet for packet in packets if packet.track.kind is Kind.VIDEO]
    gaps_s = [(after.pts - before.pts) / 90_000 for before, after in pairwise(pictures)]
    sound, video = published.browser.tracks
    notices = published.stream.notices()
    loss, delay_s, jitter_s, burst = path
    cells = (
        f"{loss:.0%}" + (f", in bursts of {burst:.0f}" if burst else ""),
        f"{2000 * delay_s:.0f} + {2000 * jitter_s:.0f}",
        f"{len(pictures)} of {len(video.frames)}",
        f"{len(packets) - len(pictures)} of {len(sound.frames)}",
        f"{max(gaps_s):.2f}, {sum(gap_s > FREEZE_S for gap_s in gaps_s)}",
        f"{notices['rtp_packets_recovered']}, {notices['rtp_packets_lost']}",
        notices["retransmission_requests"],
    )
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    print(
        "| loss both ways | round trip, jitter ms | pictures | frames of sound"
        " | longest freeze s, those > 0.2 s | packets recovered, lost for good | requests |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-repair-") as temporary:
        for path in PATHS:
            print(row(Path(temporary), options.minutes, path), flush=True)


if __name__ == "__main__":
    main()
