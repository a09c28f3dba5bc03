"""One timeline for the tracks of a peer, each of which comes with a clock of its own.

Sender reports tell what belongs together: they give one instant on the sender's wall clock and on the track's
clock. The first of sound may come seconds after the first packet, so tracks begin by what header extensions
tell of their capture, which is as good but for some milliseconds, else by their times of arrival. They slew
when reports come, by at most `SLEW`, which nobody sees. Sound keeps its pace and pictures follow it: its
clock counts samples, and files want those to follow each other without a gap. Without sound the first track
keeps its pace.
"""

from __future__ import annotations

from aircheck.media.timeline import nearest
from aircheck.webrtc.sender_clock import SenderClock, nearest_s

ORIGIN_S = 1
"""Where the timeline begins: what was captured a little earlier but came later has its place too."""

SLEW = 0.05
"""Seconds per second."""

JUMP_S = 10.0
"""A clock so far from where the arrival of its packets puts it was set anew."""

STANDSTILL_S = 0.3
"""A clock that fell behind the sender's by more than that did not run for a while: that of sound counts
samples, and a page may take the microphone away. What follows comes later, not the pictures sooner."""

_STANDSTILL_PROOF_S = 0.3
"""For so long everything must have been sent too late: behind what only waited in the sender comes what did
not."""

_SMOOTHING = 4
_ARRIVAL_SMOOTHING = 512
_NTP_TICKS_PER_S = 1 << 32


class TrackClock:
    """The clock of one track, in ticks counted on past 32 bits, and its place on the timeline."""

    def __init__(self, clock_rate: int, *, is_sound: bool) -> None:
        self.clock_rate = clock_rate
        self.is_sound = is_sound
        self.offset_s: float | None = None
        """Added to the clock it gives the time on the timeline; None until the track is placed."""
        self.target_s = 0.0
        """What `offset_s` is on its way to."""
        self.report_skew_s: float | None = None
        """The sender's wall clock minus this clock, by sender reports."""
        self.capture_skew_s: float | None = None
        """The sender's clock of sending (modulo 64 s) at a capture minus this clock, by header extensions."""
        self.arrival_skew_s: float | None = None
        """Our clock minus this one, by the packets that came soonest."""
        self.early_timestamps = 0
        """Frames put one tick after their predecessor."""
        self.behind_by_report_s: float | None = None
        """By how much the last report says that it stood still; it waits for another that agrees."""
        self.standstills = 0
        """How often it did not run for a while."""
        self.first_clock = 0
        """Of its first frame."""
        self._last: int | None = None
        self._last_placed: int | None = None
        self._last_pts = -1
        self._behind_since: int | None = None
        self._behind_s = 0.0

    def restart(self, clock_rate: int) -> None:
        """Another source took over, whose clock has nothing to do with this one."""
        self._last = self._last_placed = self._behind_since = self.behind_by_report_s = None
        self.offset_s = self.report_skew_s = self.capture_skew_s = self.arrival_skew_s = None
        self._last_pts = self._last_pts * clock_rate // self.clock_rate
        self.clock_rate = clock_rate

    def count(self, timestamp: int) -> int:
        """A timestamp of 32 bits counted on."""
        return timestamp if self._last is None else self._last + nearest(timestamp - self._last)

    def is_jump(self, timestamp: int, now_s: float) -> bool:
        """Whether a frame that has just come shows that the clock was set anew."""
        known_s = self.arrival_skew_s
        return known_s is not None and abs(now_s - self.count(timestamp) / self.clock_rate - known_s) > JUMP_S

    def arrived(self, timestamp: int, now_s: float) -> int:
        """The timestamp of a frame that has just come, counted on."""
        clock = self._last = self.count(timestamp)
        skew_s = now_s - clock / self.clock_rate
        known_s = self.arrival_skew_s
        if known_s is None:
            self.first_clock = clock
        if known_s is None or skew_s < known_s:
            self.arrival_skew_s = skew_s
        else:
            self.arrival_skew_s = known_s + (skew_s - known_s) / _ARRIVAL_SMOOTHING
        return clock

    def captured(self, timestamp: int, sender_s: float) -> None:
        """What was taken at `timestamp` was sent so early that it was taken at `sender_s` at the latest."""
        clock = self.count(timestamp)
        skew_s = sender_s - clock / self.clock_rate
        known_s = self.capture_skew_s
        if known_s is None:
            self.capture_skew_s = skew_s
            return
        later_s = nearest_s(skew_s - known_s)
        if self.offset_s is not None and later_s > STANDSTILL_S:
            self._fall_behind(clock, later_s)
            return
        self._behind_since = None
        self.capture_skew_s = known_s + (later_s if later_s < 0 else later_s / _ARRIVAL_SMOOTHING)

    def _fall_behind(self, clock: int, later_s: float) -> None:
        if self._behind_since is None:
            self._behind_since, self._behind_s = clock, later_s
        self._behind_s = min(self._behind_s, later_s)
        if clock - self._behind_since >= _STANDSTILL_PROOF_S * self.clock_rate:
            self.stood_still(self._behind_s)

    def reported_behind(self, seconds: float) -> None:
        """One report may be mistaken, made by a sender that was held up while it made it; two are not."""
        if self.behind_by_report_s is None:
            self.behind_by_report_s = seconds
        else:
            self.stood_still(min(seconds, self.behind_by_report_s))

    def stood_still(self, seconds: float) -> None:
        """The clock did not run for so long: what follows comes later."""
        self._behind_since = self.behind_by_report_s = None
        self.standstills += 1
        self.target_s += seconds
        if self.offset_s is not None:
            self.offset_s += seconds
        if self.report_skew_s is not None:
            self.report_skew_s += seconds
        if self.capture_skew_s is not None:
            self.capture_skew_s += seconds
        if self.arrival_skew_s is not None:
            self.arrival_skew_s += seconds

    def pts(self, clock: int) -> int:
        """The place of the next frame, in ticks from the timeline's beginning; the track is placed."""
        offset_s = self.offset_s
        assert offset_s is not None
        if offset_s != self.target_s and self._last_placed is not None:
            step_s = SLEW * max(0, clock - self._last_placed) / self.clock_rate
            self.offset_s = offset_s = min(max(self.target_s, offset_s - step_s), offset_s + step_s)
        self._last_placed = clock
        pts = clock + round(offset_s * self.clock_rate)
        if pts <= self._last_pts:
            self.early_timestamps += 1
            pts = self._last_pts + 1
        self._last_pts = pts
        return pts


class LipSync:
    """The timeline of one peer."""

    def __init__(self) -> None:
        self.clocks: list[TrackClock] = []
        self.sender = SenderClock()
        self.ignored_reports = 0
        self._began_s: float | None = None

    def add(self, clock_rate: int, *, is_sound: bool) -> TrackClock:
        clock = TrackClock(clock_rate, is_sound=is_sound)
        self.clocks.append(clock)
        return clock

    @property
    def knows_captures(self) -> bool:
        """Whether headers told of all tracks when they were captured."""
        return all(clock.capture_skew_s is not None for clock in self.clocks)

    @property
    def master(self) -> TrackClock | None:
        """The placed track that the others follow."""
        placed = [clock for clock in self.clocks if clock.offset_s is not None]
        return next((clock for clock in placed if clock.is_sound), placed[0] if placed else None)

    def reported(self, clock: TrackClock, ntp: int, timestamp: int) -> None:
        """A sender report: `ntp` (1/2^32 s) is the instant of `timestamp`. Ignored where it makes no sense:
        tracks that come together belong together."""
        skew_s = ntp / _NTP_TICKS_PER_S - clock.count(timestamp) / clock.clock_rate
        if not ntp:
            self.ignored_reports += 1
            return
        known_s = clock.report_skew_s
        if known_s is not None and STANDSTILL_S < skew_s - known_s <= JUMP_S:
            clock.reported_behind(skew_s - known_s)
            return
        clock.behind_by_report_s = None
        if known_s is None or abs(skew_s - known_s) > JUMP_S:
            clock.report_skew_s = skew_s
        else:
            clock.report_skew_s = known_s + (skew_s - known_s) / _SMOOTHING
        self._aim()

    def place(self, clock: TrackClock) -> None:
        """Give a track whose first frames have come its place: by the reports, else by its arrival.

        The first of all begins the timeline with its first frame. That may be older than its arrival tells:
        some clients send in a burst what they have kept until they were connected.
        """
        assert clock.arrival_skew_s is not None
        master = self.master
        if master is None:
            if self._began_s is None:
                self._began_s = clock.arrival_skew_s + clock.first_clock / clock.clock_rate
            clock.offset_s = ORIGIN_S + clock.arrival_skew_s - self._began_s
        else:
            clock.offset_s = self._best_known(clock, master)
        clock.target_s = clock.offset_s
        self._aim()

    def _aim(self) -> None:
        master = self.master
        if master is None:
            return
        assert master.offset_s is not None
        master.target_s = master.offset_s
        for clock in self.clocks:
            if clock is not master and clock.offset_s is not None:
                reported_s = self._by_reports(clock, master)
                clock.target_s = clock.target_s if reported_s is None else reported_s

    def _best_known(self, clock: TrackClock, master: TrackClock) -> float:
        for known_s in (self._by_reports(clock, master), self._by_capture(clock, master)):
            if known_s is not None:
                return known_s
        return self._by_arrival(clock, master)

    def _by_capture(self, clock: TrackClock, master: TrackClock) -> float | None:
        if clock.capture_skew_s is None or master.capture_skew_s is None:
            return None
        assert master.offset_s is not None
        arrival_s = self._by_arrival(clock, master)
        offset_s = master.offset_s + clock.capture_skew_s - master.capture_skew_s
        later_s = nearest_s(offset_s - arrival_s)
        return arrival_s + later_s if abs(later_s) < JUMP_S else None

    def _by_reports(self, clock: TrackClock, master: TrackClock) -> float | None:
        """The offset that puts a track beside the master; None where reports do not tell."""
        if clock.report_skew_s is None or master.report_skew_s is None:
            return None
        assert master.offset_s is not None
        offset_s = master.offset_s + clock.report_skew_s - master.report_skew_s
        return offset_s if abs(offset_s - self._by_arrival(clock, master)) < JUMP_S else None

    def _by_arrival(self, clock: TrackClock, master: TrackClock) -> float:
        assert master.offset_s is not None
        assert clock.arrival_skew_s is not None
        assert master.arrival_skew_s is not None
        return master.offset_s + clock.arrival_skew_s - master.arrival_skew_s
