import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.media.timeline import (
    BACKWARD_JUMP_MS,
    FORWARD_JUMP_MS,
    REBASE_STEP_MS,
    FrameGrid,
    Jump,
    Timeline,
    TrackClock,
    Unwrapper,
    rescale,
)

WRAP = 1 << 32


class Stream:
    """A timeline with a video and an audio clock, and the jumps it told."""

    def __init__(self) -> None:
        self.jumps: list[Jump] = []
        self.timeline = Timeline(self.jumps.append)
        self.video = self.timeline.new_clock()
        self.audio = self.timeline.new_clock()


@pytest.mark.parametrize(
    ("ticks", "source", "target", "expected"),
    [(1000, 1000, 48000, 48000), (1, 3, 1, 0), (2, 3, 1, 1), (1, 2, 1, 1), (-1, 2, 1, 0), (-2, 3, 1, -1)],
)
def test_rescale_rounds_to_the_nearest_tick(ticks: int, source: int, target: int, expected: int) -> None:
    assert rescale(ticks, source, target) == expected


@given(
    st.integers(1, 48),
    st.integers(0, 1 << 40),
    st.lists(st.integers(-1000, 1000), max_size=50),
)
def test_an_unwrapped_clock_moves_as_the_real_one_did(bits: int, start: int, steps: list[int]) -> None:
    limit = (1 << (bits - 1)) - 1
    unwrapper, real = Unwrapper(bits), start
    first = unwrapper.unwrap(real & ((1 << bits) - 1))
    for step in steps:
        real += max(-limit, min(step, limit))
        assert unwrapper.unwrap(real & ((1 << bits) - 1)) - first == real - start


def test_a_clock_of_32_bits_goes_on_beyond_its_end_for_every_track() -> None:
    stream = Stream()
    video = [stream.video.place(ts % WRAP) for ts in range(WRAP - 80, WRAP + 120, 40)]
    audio = [stream.audio.place(ts % WRAP) for ts in range(WRAP - 60, WRAP + 120, 20)]
    assert video == list(range(WRAP - 80, WRAP + 120, 40))
    assert audio == list(range(WRAP - 60, WRAP + 120, 20))
    assert stream.jumps == []


def test_a_track_that_begins_just_after_the_wrap_joins_the_one_that_has_wrapped() -> None:
    stream = Stream()
    stream.video.place(WRAP - 20)
    stream.video.place(20)
    assert stream.audio.place(WRAP - 5) == WRAP - 5
    assert stream.audio.place(16) == WRAP + 16
    assert stream.jumps == []


def test_a_first_timestamp_below_zero_belongs_before_the_other_track() -> None:
    stream = Stream()
    assert stream.video.place(0) == 0
    assert stream.audio.place(WRAP - 21) == -21
    assert stream.audio.place(0) == 0


def test_a_backward_jump_goes_on_behind_the_latest_packet_of_any_track() -> None:
    stream = Stream()
    stream.video.place(100_000)
    stream.audio.place(100_150)
    placed = stream.video.place(40)
    assert placed == 100_150 + REBASE_STEP_MS
    assert stream.jumps == [Jump(timestamp=40, from_ms=100_000, to_ms=40, placed_ms=placed)]
    assert not stream.jumps[0].is_gap


def test_audio_and_video_stay_in_step_across_a_jump_though_they_jump_at_different_times() -> None:
    stream = Stream()
    for ts in (99_900, 99_940):
        stream.video.place(ts)
    stream.audio.place(99_990)
    offset = stream.video.place(0) - 0
    late = [stream.audio.place(ts) for ts in (100_010, 100_030)]
    assert late == [100_010, 100_030], "what was under way on the old timeline stays there"
    audio = [stream.audio.place(ts) - ts for ts in (25, 45)]
    video = [stream.video.place(ts) - ts for ts in (40, 80)]
    assert set(audio + video) == {offset}
    assert len(stream.jumps) == 1


def test_a_small_jump_of_one_track_does_not_drag_the_other_along_too_early() -> None:
    stream = Stream()
    stream.video.place(100_000)
    stream.audio.place(99_980)
    shifted = stream.video.place(95_000) - 95_000
    assert stream.audio.place(100_000) == 100_000
    assert stream.audio.place(95_020) == 95_020 + shifted


def test_a_forward_jump_is_kept_and_told_as_a_gap() -> None:
    stream = Stream()
    stream.video.place(1000)
    assert stream.video.place(61_000) == 61_000
    assert stream.jumps == [Jump(timestamp=61_000, from_ms=1000, to_ms=61_000, placed_ms=61_000)]
    assert stream.jumps[0].is_gap


def test_a_forward_step_up_to_the_limit_is_no_gap() -> None:
    stream = Stream()
    stream.video.place(0)
    assert stream.video.place(FORWARD_JUMP_MS) == FORWARD_JUMP_MS
    assert stream.jumps == []


@pytest.mark.parametrize("early_ms", [0, 1, 500, BACKWARD_JUMP_MS])
def test_a_timestamp_that_is_a_little_early_follows_its_predecessor_by_one_tick(early_ms: int) -> None:
    stream = Stream()
    stream.video.place(5000)
    assert stream.video.place(5000 - early_ms) == 5001
    assert stream.video.bumps == 1
    assert stream.jumps == []
    assert stream.video.place(5040) == 5040


def test_a_track_with_a_clock_of_its_own_begins_where_the_stream_is() -> None:
    stream = Stream()
    stream.video.place(3_600_000)
    assert stream.audio.place(0) == 3_600_000 + REBASE_STEP_MS
    assert stream.audio.place(20) == 3_600_020 + REBASE_STEP_MS
    assert stream.video.place(3_600_040) == 3_600_040
    assert [jump.is_gap for jump in stream.jumps] == [False]


def test_when_a_new_track_brings_the_new_timeline_the_old_one_follows_it() -> None:
    stream = Stream()
    stream.video.place(3_600_000)
    offset = stream.audio.place(0)
    assert stream.video.place(40) == 40 + offset
    assert len(stream.jumps) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, WRAP - 1)), max_size=60))
def test_places_grow_on_every_track_whatever_the_timestamps(stamps: list[tuple[bool, int]]) -> None:
    stream = Stream()
    placed: dict[TrackClock, list[int]] = {stream.video: [], stream.audio: []}
    for is_video, timestamp in stamps:
        clock = stream.video if is_video else stream.audio
        placed[clock].append(clock.place(timestamp))
    for places in placed.values():
        assert all(earlier < later for earlier, later in itertools.pairwise(places))


@pytest.mark.parametrize(("rate", "samples"), [(44100, 1024), (48000, 1024), (48000, 960), (22050, 576)])
def test_rounded_milliseconds_do_not_disturb_the_grid(rate: int, samples: int) -> None:
    grid = FrameGrid(rate)
    stamps = [number * samples * 1000 // rate for number in range(5000)]
    assert [grid.place(ms, samples) for ms in stamps] == [number * samples for number in range(5000)]
    assert grid.resyncs == 0


def test_a_frame_that_is_missing_moves_the_grid_to_the_true_time() -> None:
    grid = FrameGrid(48000)
    assert [grid.place(ms, 960) for ms in (0, 20, 60, 80)] == [0, 960, 2880, 3840]
    assert grid.resyncs == 1


def test_a_clock_that_drifts_is_followed() -> None:
    grid = FrameGrid(48000)
    stamps = [number * 20 * 1001 // 1000 for number in range(10_000)]
    errors = [grid.place(ms, 960) / 48 - ms for ms in stamps]
    assert max(map(abs, errors)) <= 11
    assert 0 < grid.resyncs < 50


def test_the_grid_goes_on_when_the_sample_rate_changes() -> None:
    grid = FrameGrid(44100)
    assert [grid.place(ms, 1024) for ms in (0, 23)] == [0, 1024]
    grid.change_rate(48000)
    assert grid.place(46, 960) == round(2048 * 48000 / 44100)
    assert grid.resyncs == 0


@given(st.lists(st.sampled_from((8000, 22050, 44100, 48000)), max_size=20))
def test_no_change_of_rate_makes_time_go_back(rates: list[int]) -> None:
    grid = FrameGrid(48000)
    seconds = [grid.place(0, 960) / grid.sample_rate]
    for rate in rates:
        grid.change_rate(rate)
        seconds.append(grid.place(0, 960) / rate)
    assert all(earlier < later for earlier, later in itertools.pairwise(seconds))


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 2880)), max_size=50))
def test_frames_on_the_grid_never_go_back(frames: list[tuple[int, int]]) -> None:
    grid = FrameGrid(48000)
    places = [grid.place(ms, samples) for ms, samples in frames]
    assert all(earlier < later for earlier, later in itertools.pairwise(places))
