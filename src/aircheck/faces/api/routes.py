"""Streams, recordings and events under /api/v1."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, WithJsonSchema

from aircheck.faces.api.models import (
    EventPage,
    RecordingPage,
    RecordingWithFiles,
    Stream,
    StreamList,
    nanoseconds,
)
from aircheck.faces.api.problems import Problem
from aircheck.facts import RecordingState
from aircheck.service.recordings import RecordingFilter
from aircheck.service.services import Services
from aircheck.service.streams import StreamStatus

Limit = Annotated[int, Query(ge=1, le=500, description="Items a page has at most.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=512)]
State = Annotated[
    RecordingState | None,
    Query(description="Only in this state. What waits for its stream is listed by `GET /api/v1/armed`."),
]
Since = Annotated[AwareDatetime | None, Query(description="Started at or after this time (RFC 3339).")]
Until = Annotated[AwareDatetime | None, Query(description="Started before this time (RFC 3339).")]

# Described here, checked by the service, which also takes several with commas between.
Kinds = Annotated[
    Sequence[Annotated[str, WithJsonSchema({"$ref": "#/components/schemas/EventKind"})]],
    Query(description="Only of this kind; given several times, or with commas between, of any of them."),
]


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the documentation: these statuses carry a problem."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"model": Problem, "content": content} for status in statuses}


def api_routes(services: Services) -> APIRouter:
    router = APIRouter(prefix="/api/v1", responses=problem_responses(422))

    def stream_model(stream: StreamStatus) -> Stream:
        return Stream.of(stream, services.streams.uptime_ms(stream))

    @router.get("/streams", tags=["streams"], operation_id="listStreams")
    async def list_streams(name: str | None = None, app: str | None = None) -> StreamList:
        """The streams that are live now, the longest published first."""
        return StreamList(items=[stream_model(stream) for stream in services.streams.list(name, app)])

    @router.get(
        "/streams/{stream_id}", tags=["streams"], operation_id="getStream", responses=problem_responses(404)
    )
    async def get_stream(stream_id: str) -> Stream:
        """One live stream, by its media session."""
        return stream_model(services.streams.get(stream_id))

    @router.get("/recordings", tags=["recordings"], operation_id="listRecordings")
    async def list_recordings(
        stream: Annotated[str | None, Query(description="Only of the stream with this name.")] = None,
        app: Annotated[str | None, Query(description="Only of this application.")] = None,
        state: State = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> RecordingPage:
        """Recordings, the newest first; those that still run have the sizes of this moment."""
        wanted = RecordingFilter(stream, app, state, _optional_ns(since), _optional_ns(until))
        return RecordingPage.of(await services.recordings.page(wanted, limit=limit, cursor=cursor))

    @router.get(
        "/recordings/{recording_id}",
        tags=["recordings"],
        operation_id="getRecording",
        responses=problem_responses(404),
    )
    async def get_recording(recording_id: str) -> RecordingWithFiles:
        """One recording with its files, what is missing in them, and their links."""
        return RecordingWithFiles.of_detail(await services.recordings.get(recording_id))

    @router.get("/events", tags=["events"], operation_id="listEvents", responses=problem_responses(400))
    async def list_events(kind: Kinds = (), limit: Limit = 50, cursor: Cursor = None) -> EventPage:
        """What happened, the newest first."""
        return EventPage.of(await services.events.page(kinds=kind, limit=limit, cursor=cursor))

    return router


def _optional_ns(moment: datetime | None) -> int | None:
    return None if moment is None else nanoseconds(moment)
