"""Word of who watches: a peer has joined when it is connected, and left when it is over."""

from __future__ import annotations

from helpers.patience import until
from helpers.peers_world import PeersWorld
from helpers.rtc_client import RtcClient


async def test_a_peer_that_watches_joins_and_leaves_once() -> None:
    joined: list[str] = []
    left: list[str] = []
    async with PeersWorld.opened() as world:
        world.registry.listen_to_viewers(
            joined=lambda attempt: joined.append(attempt.name), left=lambda attempt: left.append(attempt.name)
        )
        async with RtcClient() as publisher:
            await publisher.publish(world.publish)
            await until(lambda: bool(world.listeners) and world.listeners["cam"].packets["vp8"] > 3)
            async with RtcClient() as viewer:
                await viewer.play(world.play)
                await viewer.connected()  # or it leaves without a word
                await until(lambda: joined == ["cam"])
                assert left == []
            await until(lambda: left == ["cam"])
        await until(lambda: len(world.peers) == 0)
    assert (joined, left) == (["cam"], ["cam"])
