"""Registry: which streams are live, by application and name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from aircheck.errors import StreamError
from aircheck.facts import EndReason
from aircheck.hub.gatekeeper import Attempt
from aircheck.hub.stream import Stream

_log = logging.getLogger(__name__)

StreamListener = Callable[[Stream], None]
ViewerListener = Callable[[Attempt], None]


class StreamNameInUse(StreamError):
    """The name has a publisher already."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(
            f"stream {stream.name!r} of application {stream.facts.app!r} is being published"
            f" by {stream.facts.remote_address}",
            remedy="choose another stream name, or stop the other publisher",
        )


class Registry:
    """The live streams of this node, and word of who watches them.

    Listeners run on the loop, in the order in which they were added.
    """

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], Stream] = {}
        self._on_published: list[StreamListener] = []
        self._on_ended: list[StreamListener] = []
        self._on_joined: list[ViewerListener] = []
        self._on_left: list[ViewerListener] = []

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Stream]:
        return iter(list(self._streams.values()))

    def listen(self, *, published: StreamListener | None = None, ended: StreamListener | None = None) -> None:
        if published is not None:
            self._on_published.append(published)
        if ended is not None:
            self._on_ended.append(ended)

    def listen_to_viewers(self, *, joined: ViewerListener, left: ViewerListener) -> None:
        self._on_joined.append(joined)
        self._on_left.append(left)

    def publish(self, stream: Stream) -> None:
        """Make a stream known. Raises `StreamNameInUse`: the first publisher of a name keeps it."""
        key = (stream.facts.app, stream.name)
        if key in self._streams:
            raise StreamNameInUse(self._streams[key])
        self._streams[key] = stream
        facts = stream.facts
        _log.info(
            "published stream=%s app=%s session=%s address=%s protocol=%s client=%s",
            facts.name,
            facts.app,
            facts.session_id,
            facts.remote_address,
            facts.protocol,
            facts.client,
        )
        for listener in self._on_published:
            listener(stream)

    def end(self, stream: Stream, reason: EndReason, at_ns: int) -> None:
        """Take a stream out and end it. Its name is free at once."""
        key = (stream.facts.app, stream.name)
        if self._streams.get(key) is not stream:
            return
        del self._streams[key]
        stream.end(reason, at_ns)
        for listener in self._on_ended:
            listener(stream)

    def viewer_joined(self, attempt: Attempt) -> None:
        """A peer that was let in watches a stream now."""
        for listener in self._on_joined:
            listener(attempt)

    def viewer_left(self, attempt: Attempt) -> None:
        """It does so no more; may be said of a peer that never came to it."""
        for listener in self._on_left:
            listener(attempt)

    def find(self, name: str, app: str | None = None) -> Stream | None:
        """The stream of that application, else any of that name: viewers often know only the name."""
        if app is not None and (stream := self._streams.get((app, name))):
            return stream
        return next((stream for stream in self._streams.values() if stream.name == name), None)

    def by_id(self, media_session_id: str) -> Stream | None:
        return next((stream for stream in self._streams.values() if stream.id == media_session_id), None)
