"""Publishes a file by FFmpeg's WHIP muxer, in its own time: `ffmpeg -re -i FILE -c copy -f whip URL`.

PyAV's wheel has an FFmpeg with that muxer where the system's may be too old for it. Arguments: file, URL, and
the muxer's options as name=value.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction

import av


def publish(source: str, url: str, options: dict[str, str]) -> None:
    with av.open(source) as clip, av.open(url, "w", format="whip", options=options) as whip:
        outputs = {stream.index: whip.add_stream_from_template(stream) for stream in clip.streams}
        began_s = time.monotonic()
        for packet in clip.demux():
            if packet.dts is not None:
                due_s = float(packet.dts * Fraction(packet.time_base or 1))
                time.sleep(max(0.0, began_s + due_s - time.monotonic()))
                packet.stream = outputs[packet.stream.index]
                whip.mux(packet)


if __name__ == "__main__":
    publish(sys.argv[1], sys.argv[2], dict(option.split("=", 1) for option in sys.argv[3:]))
