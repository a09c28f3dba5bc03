"""Peers that misbehave, beside honest ones that must not notice. `bench/bench_abuse.py` does more of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import bench_abuse
import pytest
from bench_abuse import AbuseRun, Target, abused_server, settled
from crashable import CrashableServer
from helpers.tools import find_program, requires

from aircheck import descriptors

pytestmark = requires("ffmpeg")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashableServer]:
    with abused_server(tmp_path_factory.mktemp("abuse")) as server:
        yield server


def loud(target: Target) -> None:
    """What needs no waiting, one after the other."""
    bench_abuse.garbage(target)
    bench_abuse.garbage_media(target)
    bench_abuse.announced_lengths(target)
    bench_abuse.half_closed(target)
    bench_abuse.vanishing_publishers(target)


def quiet(target: Target) -> None:
    """Peers that keep a place and do nothing with it, until they are let go."""
    for _ in target.many(300):
        target.dial()
    bench_abuse.silent_publishers(target)


def greedy(target: Target) -> None:
    """Peers that want more than others: memory, and what they do not read."""
    bench_abuse.unfinished_messages(target)
    bench_abuse.players_that_do_not_read(target)


@pytest.mark.parametrize(
    ("abuse", "counted"),
    [
        (loud, {"protocol_error"}),
        (quiet, {"handshake_timeout", "idle_timeout"}),
        (greedy, set[str]()),
    ],
)
def test_honest_publishers_lose_nothing_beside(
    server: CrashableServer, abuse: Callable[[Target], None], counted: set[str]
) -> None:
    before = settled(server)
    run = AbuseRun(server, honest=4)
    vitals = run.commit(abuse, scale=0.1)
    assert run.problems == []
    refused = {reason for reason, number in vitals.refused.items() if number > before.refused.get(reason, 0)}
    assert refused >= counted
    assert settled(server).fds <= before.fds + 2
    assert vitals.rss_mb < before.rss_mb + 200
    assert "Traceback" not in server.log


@pytest.mark.skipif(find_program("prlimit") is None, reason="needs: apt-get install util-linux")
def test_a_crowd_leaves_descriptors_for_the_files_of_those_who_publish(tmp_path: Path) -> None:
    limit = descriptors.RESERVED + descriptors.PER_CONNECTION * 20
    with abused_server(tmp_path, prefix=("prlimit", f"--nofile={limit}:{limit}")) as server:
        run = AbuseRun(server, honest=4)
        vitals = run.commit(crowd)
        assert run.problems == []
        assert vitals.connections == 20
        assert vitals.refused["too_many_connections"] == 400 - 16
        assert "accept_failed" not in vitals.refused
        assert "open files are limited" in server.log


def crowd(target: Target) -> None:
    for _ in range(400):
        target.dial()
