"""Going on after a break: one timeline over pauses, and over publishers that come back.

A publisher that returns begins its timestamps anew and numbers its tracks anew. A recording that goes on puts
both back in place: media time goes on where it ended (a pause) or as much later as the break took (a
reconnect), and a track that is the same but for its number is the old one, so that the file can go on too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aircheck.media.packet import Batch, Packet
from aircheck.media.track import DATA_TRACK, Track
from aircheck.recording.rotation import dts_ms

SEAM_MS = 20
"""Between the last packet before a pause and the first after it, where no more is known."""

SEAM_MAX_MS = 200


class Seam:
    """How packets after a break are put on the recording's timeline.

    `known` are the recording's tracks. Tracks are told apart by identity: a batch holds the same objects.
    """

    def __init__(self, shift_ms: int, known: Iterable[Track]) -> None:
        self.shift_ms = shift_ms
        self._known = {track.id: track for track in known}
        self._continued: dict[int, tuple[Track, Track]] = {}

    def restamp(self, batch: Batch) -> Batch:
        return replace(batch, packets=[self._moved(packet) for packet in batch.packets])

    def _moved(self, packet: Packet) -> Packet:
        track = self._continue(packet.track)
        ticks = self.shift_ms * track.timescale // 1000
        return Packet(track, packet.pts + ticks, packet.dts + ticks, packet.is_keyframe, packet.data)

    def _continue(self, track: Track) -> Track:
        pair = self._continued.get(id(track))
        if pair is None:
            pair = self._continued[id(track)] = (track, self._match(track))
        return pair[1]

    def _match(self, track: Track) -> Track:
        """The old track that goes on in this one, else this one under a number that is its kind's or free."""
        if track is DATA_TRACK:
            return track
        same_number = self._known.get(track.id)
        if same_number == track:
            return same_number
        for old in self._known.values():
            if replace(track, id=old.id) == old:
                return old
        same_kind = (old.id for old in self._known.values() if old.kind is track.kind)
        track_id = next(same_kind, max(self._known, default=0) + 1)
        return replace(track, id=track_id)


class Break:
    """Whether a recording has been interrupted, and how its media is put on one timeline since."""

    def __init__(self) -> None:
        self.is_beginning = False
        """The next packets at which media can go on are to be put on the timeline."""
        self._seam: Seam | None = None

    @property
    def is_on_record(self) -> bool:
        return self.is_beginning or self._seam is not None

    @property
    def shift_ms(self) -> int:
        return self._seam.shift_ms if self._seam is not None else 0

    def begin(self) -> None:
        self.is_beginning = True

    def restamp(
        self, batch: Batch, last_ms: int, missed_ms: int, known: Mapping[int, Track], *, has_video: bool
    ) -> Batch:
        """The batch on the recording's own timeline; empty until media can go on.

        Its first packet lies right behind the last one before the break, at `last_ms`, or later by what was
        missed; `known` are the tracks so far.
        """
        if self.is_beginning:
            start = find_start(batch, has_video=has_video)
            if start is None:
                return replace(batch, packets=[])
            batch = replace(batch, packets=batch.packets[start:], tracks_changed=True)
            target_ms = last_ms + max(missed_ms, _step_ms(batch.packets))
            self._seam = Seam(target_ms - dts_ms(batch.packets[0]), known.values())
            self.is_beginning = False
        assert self._seam is not None
        return self._seam.restamp(batch)


def find_start(batch: Batch, *, has_video: bool) -> int | None:
    """Where media can go on after a break: at a key frame, or at any sound in a stream without video."""
    for i, packet in enumerate(batch.packets):
        track = packet.track
        if (track.is_video and packet.is_keyframe) if has_video else track is not DATA_TRACK:
            return i
    return None


def _step_ms(packets: Sequence[Packet]) -> int:
    """How long the first packet lasts: nearer to the packet before the break would be in that one's time."""
    first = packets[0]
    later = (packet.dts for packet in packets[1:] if packet.track is first.track)
    step = next(later, first.dts) - first.dts
    return min(max(SEAM_MS, -(-step * 1000 // first.track.timescale)), SEAM_MAX_MS)
