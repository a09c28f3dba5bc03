"""What happens at a node while a transcript is played: lines of words, such as `media cam 1000`."""

from __future__ import annotations

import pytest
from helpers.live_node import LiveNode
from helpers.packets import av_batches

from aircheck.hub.stream import Stream
from aircheck.service.control import Target


class NodeScript:
    """`publish NAME ID` begins a stream that came in by RTMP, or by the protocol named last, `unpublish NAME`
    ends it, `media NAME MS` lets so much media pass, and `record NAME` has our own API record it.
    """

    def __init__(self, node: LiveNode) -> None:
        self.node = node
        self._streams: dict[str, Stream] = {}

    async def act(self, line: str) -> None:
        what, name, *values = line.split()
        match what:
            case "publish":
                stream_id, protocol = values[0], (*values[1:], "rtmp")[0]
                self._streams[name] = self.node.publish(name, stream_id=stream_id, protocol=protocol)
            case "record":
                await self.node.control.start(Target(name=name), requested_by="api")
            case "unpublish":
                self.node.unpublish(self._streams[name])
            case "media":
                await self.node.feed(self._streams[name], av_batches(int(values[0])))
            case _:
                pytest.fail(f"nobody knows how to {what}")
