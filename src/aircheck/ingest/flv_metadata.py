"""What publishers say of their media beside it: onMetaData and other data messages, colorInfo."""

from __future__ import annotations

from typing import Any

from aircheck.ingest.flv_data import DataLane
from aircheck.ingest.flv_notices import Notices
from aircheck.media.packet import Packet, Payload
from aircheck.media.timeline import Timeline
from aircheck.wire import amf
from aircheck.wire.errors import AmfError
from aircheck.wire.flv import DATA_MESSAGE, VIDEO_MESSAGE

_SET_DATA_FRAME = amf.serialize("@setDataFrame")


class Metadata:
    """Of one publication. `lane` makes packets of data messages."""

    def __init__(self, timeline: Timeline, notices: Notices) -> None:
        self.on_meta_data: dict[str, Any] | None = None
        """The last onMetaData."""
        self.color_info: dict[str, Any] | None = None
        """The last colorInfo of Enhanced RTMP: what HDR video looks like."""
        self.lane = DataLane(timeline)
        self._count = notices.count

    def take(self, timestamp: int, body: Payload, packets: list[Packet]) -> None:
        plain = bytes(body).removeprefix(_SET_DATA_FRAME)
        if self._is_data(plain) and not self.lane.take(timestamp, plain, packets):
            self._count("ignored_messages", type_id=DATA_MESSAGE)

    def take_color_info(self, body: memoryview) -> None:
        try:
            values = amf.parse(body)
        except AmfError as error:
            self._count("malformed_metadata", error=str(error))
            return
        match values:
            case ["colorInfo", dict() as members, *_] if members:
                self.color_info = dict(members)
            case ["colorInfo", *_]:
                self.color_info = None
            case _:
                self._count("ignored_messages", type_id=VIDEO_MESSAGE)

    def _is_data(self, body: bytes) -> bool:
        """Whether this is a message that means something; onMetaData is kept here, too."""
        try:
            values = amf.parse(body)
        except AmfError as error:
            self._count("malformed_metadata", error=str(error))
            return False
        match values:
            case ["onMetaData", dict() as members, *_]:
                self.on_meta_data = dict(members)
            case ["onMetaData", *_]:
                self.on_meta_data = {}
            case [] | ["@clearDataFrame", *_]:
                self._count("ignored_messages", type_id=DATA_MESSAGE)
                return False
        return True
