"""`/stream/find`, `/stream/find_all`, `/stream/terminate`: publications, found and ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aircheck.faces.wcs.arguments import Arguments
from aircheck.faces.wcs.methods import Answer, RestMethod
from aircheck.faces.wcs.objects import PUBLISHING, live_stream_object
from aircheck.service.errors import InvalidRequest, NotFound
from aircheck.service.services import Services
from aircheck.service.streams import StreamStatus

_GIVES = (
    '[{"appKey": "flashStreamingApp", "sessionId": "…", "mediaSessionId": "…", "name": "stream1", '
    '"published": true, "hasVideo": true, "hasAudio": true, "status": "PUBLISHING", '
    '"audioCodec": "mpeg4-generic", "videoCodec": "H264", "record": true, "recordName": "stream1.mp4", '
    '"width": 1280, "height": 720, "bitrate": 2600, "quality": 0, "fps": 30, "createDate": 1616730493789, '
    '"mediaType": "publish", "mediaProvider": "Flash"}]'
)


def live_session(services: Services, arguments: Arguments) -> str:
    """The `mediaSessionId` of a stream that is live. Raises `InvalidRequest`, `NotFound`."""
    media_session_id = arguments.required_text("mediaSessionId")
    if not services.control.is_live(media_session_id):
        raise NotFound(
            f"no live stream has the media session {media_session_id!r}",
            remedy="/stream/find_all lists what is live; each publication has another one",
        )
    return media_session_id


def stream_methods(services: Services) -> tuple[RestMethod, ...]:
    async def find(arguments: Arguments) -> Answer:
        has_metrics = "metrics" in (arguments.texts("display") or ())
        return _objects(services, _selected(services, arguments), has_metrics=has_metrics)

    async def find_all(_: Arguments) -> Answer:
        return _objects(services, services.streams.list())

    async def terminate(arguments: Arguments) -> Answer:
        found = _selected(services, arguments, is_any_needed=True)
        if not found:
            raise _no_stream()
        for stream in found:
            services.control.close_stream(stream.id)
        return None

    return (
        RestMethod(
            ("/stream/find",),
            "Live streams that meet every condition that is given. `display` with `metrics` adds counters.",
            find,
            takes='{"name": "stream1", "published": true, "mediaSessionId": "…", "status": "PUBLISHING", '
            '"display": ["metrics"]}',
            gives=_GIVES,
            errors=(400, 404, 500),
        ),
        RestMethod(("/stream/find_all",), "Every live stream.", find_all, gives=_GIVES, errors=(404, 500)),
        RestMethod(
            ("/stream/terminate",),
            "Send publishers away: of one media session, of several, or of all that meet the conditions of "
            "`/stream/find`. A request without any condition is refused.",
            terminate,
            takes='{"mediaSessionId": "…"} or {"mediaSessionIds": ["…"]} or {"name": "stream1"}',
            errors=(400, 404),
        ),
    )


def _objects(
    services: Services, streams: Sequence[StreamStatus], *, has_metrics: bool = False
) -> list[dict[str, Any]]:
    if not streams:
        raise _no_stream()
    # The newest recording of a session is the last one.
    recordings = {facts.media_session_id: facts.id for facts in services.control.running()}
    current = services.recordings.current_file_name
    return [
        live_stream_object(
            stream,
            current(recordings[stream.id]) if stream.id in recordings else None,
            has_metrics=has_metrics,
        )
        for stream in streams
    ]


def _selected(
    services: Services, arguments: Arguments, *, is_any_needed: bool = False
) -> Sequence[StreamStatus]:
    """Streams that meet every condition of the request."""
    conditions = list(_conditions(arguments))
    if is_any_needed and not conditions:
        raise InvalidRequest(
            "no stream is given", remedy='send {"mediaSessionId": "…"}, {"mediaSessionIds": […]} or a filter'
        )
    return [stream for stream in services.streams.list() if all(holds(stream) for holds in conditions)]


def _conditions(arguments: Arguments) -> list[Callable[[StreamStatus], bool]]:
    """Only publications are listed, so `published` and `status` hold for all of them or for none."""
    conditions: list[Callable[[StreamStatus], bool]] = []
    if (media_session_id := arguments.text("mediaSessionId")) is not None:
        conditions.append(lambda stream: stream.id == media_session_id)
    if (media_session_ids := arguments.texts("mediaSessionIds")) is not None:
        conditions.append(lambda stream: stream.id in media_session_ids)
    if (name := arguments.text("name")) is not None:
        conditions.append(lambda stream: stream.facts.name == name)
    if (is_published := arguments.boolean("published")) is not None:
        conditions.append(lambda stream: is_published)
    if (status := arguments.text("status")) is not None:
        conditions.append(lambda stream: status == PUBLISHING)
    return conditions


def _no_stream() -> NotFound:
    return NotFound("no live stream is meant", remedy="/stream/find_all lists what is live")
