"""Sources: which SSRC feeds which media line.

Few peers announce their SSRCs. A new one belongs to the line that its MID names (RFC 9143), else to the line
that announced it, else to the only line that has its payload type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aircheck.webrtc.receive_track import ReceiveTrack
from aircheck.wire.rtp.packet import extension_elements

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"


class Source:
    """One SSRC of a line: of its media, or of what is sent again."""

    __slots__ = ("original_types", "ssrc", "track")

    def __init__(self, ssrc: int, track: ReceiveTrack, original_types: Mapping[int, int]) -> None:
        self.ssrc = ssrc
        self.track = track
        self.original_types = original_types
        """Payload types of retransmissions, and of what they repeat."""


class Sources:
    """At most one source of media and one of retransmissions a line, whatever a peer sends."""

    def __init__(self, tracks: Sequence[ReceiveTrack]) -> None:
        self._tracks = tracks
        self._by_ssrc: dict[int, Source] = {}
        self._originals = {
            track.id: {
                one.rtx_payload_type: one.payload_type
                for one in track.line.formats
                if one.rtx_payload_type is not None
            }
            for track in tracks
        }
        self._mid_ids = {
            track.line.extensions[MID_URI] for track in tracks if MID_URI in track.line.extensions
        }

    def find(
        self, ssrc: int, payload_type: int, packet: bytes, extension_at: int, start: int, now_s: float
    ) -> Source | None:
        """The source of a packet whose header extension lies between `extension_at` and `start`."""
        known = self._by_ssrc.get(ssrc)
        if known is not None:
            return known
        track = self._line_of(ssrc, payload_type, packet, extension_at, start)
        if track is None:
            return None
        originals = self._originals[track.id]
        is_media = payload_type not in originals
        if is_media:
            if not any(one.payload_type == payload_type for one in track.line.formats):
                return None
            if not track.may_follow(now_s):
                return None
            track.follow(ssrc, now_s)
        self._replace(track, is_media=is_media)
        source = self._by_ssrc[ssrc] = Source(ssrc, track, {} if is_media else originals)
        return source

    def _replace(self, track: ReceiveTrack, *, is_media: bool) -> None:
        for ssrc, source in list(self._by_ssrc.items()):
            if source.track is track and bool(source.original_types) != is_media:
                del self._by_ssrc[ssrc]

    def forget(self, ssrcs: Iterable[int]) -> None:
        """These sources have said that they are gone: others may take over at once."""
        for ssrc in ssrcs:
            source = self._by_ssrc.pop(ssrc, None)
            if source is not None and source.track.ssrc == ssrc:
                source.track.last_packet_s = float("-inf")

    def _line_of(
        self, ssrc: int, payload_type: int, packet: bytes, extension_at: int, start: int
    ) -> ReceiveTrack | None:
        mid = self._mid_of(packet, extension_at, start)
        if mid is not None:
            return next((track for track in self._tracks if track.line.mid == mid), None)
        announced = next((track for track in self._tracks if ssrc in track.line.ssrcs), None)
        if announced is not None:
            return announced
        users = [track for track in self._tracks if self._uses(track, payload_type)]
        return users[0] if len(users) == 1 else None

    def _uses(self, track: ReceiveTrack, payload_type: int) -> bool:
        formats = track.line.formats
        return payload_type in self._originals[track.id] or any(
            one.payload_type == payload_type for one in formats
        )

    def _mid_of(self, packet: bytes, extension_at: int, start: int) -> str | None:
        for key, at, to in extension_elements(packet, extension_at, start):
            if key in self._mid_ids:
                return packet[at:to].decode("ascii", "replace")
        return None
