"""A viewer by RTMP: what it is sent, and what it misses when it does not keep up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from helpers.packets import av_batches, new_stream

from aircheck.facts import EndReason
from aircheck.playback.rtmp_play import BACKLOG_MAX_BYTES, FlvMessage, RtmpViewer


@dataclass
class Sink:
    """A connection whose peer reads as fast as the test says."""

    session_id: str = "s1"
    pending_bytes: int = 0
    messages: list[FlvMessage] = field(default_factory=list)

    def send_messages(self, stream_id: int, messages: Sequence[FlvMessage]) -> None:
        self.messages += messages

    def play_ended(self, stream_id: int, reason: EndReason) -> None: ...


def test_a_viewer_that_waits_for_its_first_key_frame_has_missed_nothing() -> None:
    stream, sink = new_stream(), Sink()
    batches = list(av_batches(3000, gop_ms=1000))
    stream.publish(batches[0])
    viewer = RtmpViewer(stream, sink, 1)
    viewer.start()
    for batch in batches[1:5]:
        stream.publish(batch)
    assert (sink.messages, viewer.dropped_packets) == ([], 0)
    stream.publish(batches[5])
    assert sink.messages
    assert viewer.dropped_packets == 0


def test_a_slow_viewer_goes_on_at_a_key_frame_and_what_it_missed_is_counted() -> None:
    stream, sink = new_stream(), Sink()
    batches = list(av_batches(4000, gop_ms=1000))
    viewer = RtmpViewer(stream, sink, 1)
    viewer.start()
    for batch in batches[:6]:
        stream.publish(batch)
    sent, sink.pending_bytes = len(sink.messages), BACKLOG_MAX_BYTES + 1
    stream.publish(batches[6])
    sink.pending_bytes = 0
    stream.publish(batches[7])
    missed = len(batches[6].packets) + len(batches[7].packets)
    assert (len(sink.messages), viewer.dropped_packets) == (sent, missed)
    for batch in batches[8:]:
        stream.publish(batch)
    assert len(sink.messages) > sent
    assert missed <= viewer.dropped_packets < missed + sum(len(batch.packets) for batch in batches[8:11])
