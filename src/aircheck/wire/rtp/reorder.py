"""Puts the packets of one source in order, asks again for what is missing, and gives up in time.

A packet that follows its predecessor passes straight through. Behind a hole packets wait: for the missing
one, which is asked for at once and then at intervals that follow the round-trip time (asking more often only
doubles the traffic), or until waiting is over and the hole is passed on as `None`. On a path that brings many
packets out of order the first request waits for as long as those are late.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from aircheck.media.timeline import nearest

GIVE_UP_S = 0.5
"""How long a hole is waited for. The key frame that repairs a picture comes after that, so that a freeze is
over within a second."""

MAX_HOLE = 512
"""A longer hole is not asked for: too much is gone."""

MAX_MISSING = 1024
"""Nor are more in all: whoever sends only every other packet makes us remember the rest."""

MAX_DROPOUT = 3000
"""Farther ahead, or as far behind, a sequence number begins a new sequence (RFC 3550, A.1)."""

MAX_REQUESTS = 10
MAX_HELD = 8192
RETRY_MIN_S = 0.02
RETRY_PER_ROUND_TRIP = 1.25
"""A little more than a round trip: an answer that is on its way is not asked for again."""

LATE_MIN_S = 0.005
"""Packets that are late by less than that on average are not waited for."""

TRIPS_BEHIND_PATIENCE = 4
"""Nor any, where giving up comes sooner than so many round trips."""

T = TypeVar("T")


class RoundTrip:
    """Smoothed time from asking for a packet to getting it; one for all sources of a peer."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float = 0.1) -> None:
        self.seconds = seconds

    def take(self, sample_s: float) -> None:
        self.seconds += (sample_s - self.seconds) / 8

    @property
    def retry_s(self) -> float:
        return max(RETRY_MIN_S, self.seconds * RETRY_PER_ROUND_TRIP)


class _Missing:
    __slots__ = ("asked_s", "requests", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.requests = 0
        self.asked_s = 0.0


class ReorderBuffer(Generic[T]):
    """`push` returns what is next in order: nothing, one item or many, with None for a hole given up.

    Sequence numbers are counted on past 16 bits; `highest` and `first` are such. `knows_answers` tells that
    what is sent again always comes by `push_again`: then what comes by `push` was only late.
    """

    def __init__(
        self,
        round_trip: RoundTrip | None = None,
        *,
        give_up_s: float = GIVE_UP_S,
        knows_answers: bool = False,
    ) -> None:
        self.round_trip = round_trip if round_trip is not None else RoundTrip()
        self.give_up_s = give_up_s
        self.first = 0
        self.highest = -1
        self.lost = 0
        """Packets that never came, or came too late."""
        self.recovered = 0
        """Packets that came after they were asked for."""
        self.duplicates = 0
        self.resets = 0
        self._knows_answers = knows_answers
        self._late_s = 0.0
        """By how much packets are late that come out of order: less, the more of the missing are lost."""
        self._next = 0
        self._held: dict[int, T] = {}
        self._missing: dict[int, _Missing] = {}
        """In the order of the numbers: later holes are found later."""
        self._stranger: int | None = None
        """What would follow a packet far away: two in a row begin a new sequence."""

    @property
    def is_waiting(self) -> bool:
        return bool(self._missing)

    def push(self, sequence_number: int, item: T, now_s: float) -> Sequence[T | None]:
        expected = self._next
        if sequence_number == expected & 0xFFFF and not self._held:
            self._next = expected + 1
            self.highest = expected
            return (item,)
        return self._push_odd(sequence_number, item, now_s)

    def _push_odd(self, sequence_number: int, item: T, now_s: float) -> Sequence[T | None]:
        if self.highest < 0:
            return self._begin(sequence_number, item)
        number = self.highest + nearest(sequence_number - self.highest, 0xFFFF, 0x8000)
        distance = number - self.highest
        if abs(distance) > MAX_DROPOUT:
            return self._meet_stranger(sequence_number, item)
        self._stranger = None
        if distance > 0:
            return self._push_ahead(number, item, now_s)
        if number < self._next or number in self._held:
            self.duplicates += 1
            return ()
        self._found(number, now_s, is_late=self._knows_answers)
        self._held[number] = item
        return self._drain()

    def push_again(self, sequence_number: int, item: T, now_s: float) -> Sequence[T | None]:
        """The same for a packet that was sent again: one that is not missing changes nothing."""
        number = self.highest + nearest(sequence_number - self.highest, 0xFFFF, 0x8000)
        if self.highest < 0 or number - self.highest > MAX_HOLE:
            return ()
        if number > self.highest:
            return self._push_ahead(number, item, now_s)
        if number not in self._missing:
            self.duplicates += 1
            return ()
        self._found(number, now_s)
        self._held[number] = item
        return self._drain()

    def _begin(self, sequence_number: int, item: T) -> Sequence[T | None]:
        self.first = self.highest = sequence_number
        self._next = sequence_number + 1
        return (item,)

    def _meet_stranger(self, sequence_number: int, item: T) -> Sequence[T | None]:
        if self._stranger != sequence_number:
            self._stranger = sequence_number + 1 & 0xFFFF
            return ()
        self._stranger = None
        self.resets += 1
        rest = self.flush()
        self._begin(sequence_number, item)
        return (*rest, None, item)

    def _push_ahead(self, number: int, item: T, now_s: float) -> Sequence[T | None]:
        out: list[T | None] = []
        hole = number - self.highest - 1
        is_hopeless = hole and (hole > MAX_HOLE or len(self._missing) + hole > MAX_MISSING)
        if is_hopeless or len(self._held) >= MAX_HELD:
            out += self.flush()
            self.lost += number - self._next
            self._next = number
            out.append(None)
        else:
            for missing in range(self.highest + 1, number):
                self._missing[missing] = _Missing(now_s)
        self.highest = number
        self._held[number] = item
        out += self._drain()
        return out

    def _found(self, number: int, now_s: float, *, is_late: bool = False) -> None:
        missing = self._missing.pop(number, None)
        if missing is None:
            return
        if is_late:
            self._late_s += max(0.0, now_s - missing.since_s - self._late_s) / 8
            return
        self._late_s -= self._late_s / 16
        if not missing.requests:
            return
        self.recovered += 1
        # Which of several requests was answered nobody knows: the first, if round trips are longer than
        # thought, and then that must be learnt.
        self.round_trip.take(now_s - (missing.asked_s if missing.requests == 1 else missing.since_s))

    def _drain(self) -> list[T | None]:
        out: list[T | None] = []
        held, number = self._held, self._next
        while number in held:
            out.append(held.pop(number))
            number += 1
        self._next = number
        return out

    def expire(self, now_s: float) -> Sequence[T | None]:
        """What goes on after holes that were waited for long enough."""
        if not self._missing:
            return ()
        out: list[T | None] = []
        limit_s = now_s - self.give_up_s
        while self._missing:
            number = next(iter(self._missing))
            if self._missing[number].since_s > limit_s:
                break
            out += self._give_up()
        return out

    def _give_up(self) -> list[T | None]:
        """Skip the hole at which everything waits."""
        number = self._next
        while number in self._missing:
            del self._missing[number]
            number += 1
        self.lost += number - self._next
        self._next = number
        return [None, *self._drain()]

    def flush(self) -> list[T | None]:
        """All that waits, holes included: the source has ended."""
        out: list[T | None] = []
        while self._missing:
            out += self._give_up()
        return out

    def wanted(self, now_s: float) -> tuple[int, ...]:
        """Sequence numbers (16 bits) to ask for now."""
        if not self._missing:
            return ()
        first_s, second_s, further_s = self._waits_s()
        numbers: list[int] = []
        for number, missing in self._missing.items():
            if not missing.requests:
                is_due = missing.since_s <= now_s - first_s
            elif missing.requests == 1:
                is_due = missing.asked_s <= now_s - second_s
            else:
                is_due = missing.asked_s <= now_s - further_s and missing.requests < MAX_REQUESTS
            if is_due:
                missing.requests += 1
                missing.asked_s = now_s
                numbers.append(number & 0xFFFF)
        return tuple(numbers)

    def _waits_s(self) -> tuple[float, float, float]:
        """How long to wait before the first request, the second, and each further one.

        Packets that are only late are waited for where there is time to ask more than once after that, and
        for no longer than half of what asking takes. A second request leaves time for its answer. What that
        did not bring is asked for eight times a round trip: it is not much, and will be given up soon.
        """
        trip_s, retry_s = self.round_trip.seconds, self.round_trip.retry_s
        late_s = self._late_s if self._late_s >= LATE_MIN_S else 0.0
        first_s = min(late_s, trip_s / 2, max(0.0, self.give_up_s - TRIPS_BEHIND_PATIENCE * trip_s))
        second_s = max(RETRY_MIN_S, min(retry_s, self.give_up_s - retry_s))
        return first_s, second_s, max(RETRY_MIN_S, trip_s / 8)
