"""Commands under /api/v1: begin, change and end recordings, and end streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from aircheck.faces.api.guard import refuse_foreign
from aircheck.faces.api.models import Recording, RecordingWithFiles, Stream
from aircheck.faces.api.orders import EXAMPLES, Armed, ArmedList, StartedRecording, StartRecording
from aircheck.faces.api.routes import problem_responses
from aircheck.facts import RecordingState
from aircheck.service.services import Services

BY_API = "api"
"""Who asked for a recording that this interface began."""

Order = Annotated[StartRecording, Body(openapi_examples=EXAMPLES)]


def control_routes(services: Services) -> APIRouter:
    router = APIRouter(
        prefix="/api/v1", dependencies=[Depends(refuse_foreign)], responses=problem_responses(422)
    )
    _add_start(router, services)
    _add_changes(router, services)
    _add_stop(router, services)
    _add_armed(router, services)
    _add_streams(router, services)
    return router


def _add_start(router: APIRouter, services: Services) -> None:
    answers = {
        201: {"model": StartedRecording, "description": "It records; `Location` has its address."},
        202: {"model": Armed, "description": "It begins when the stream comes."},
        **problem_responses(400, 403, 404, 409, 415, 422, 507),
    }

    @router.post(
        "/recordings",
        tags=["recordings"],
        operation_id="startRecording",
        status_code=201,
        response_model=None,
        responses=answers,
    )
    async def start_recording(order: Order, response: Response) -> StartedRecording | Armed:
        """Record a live stream, besides whatever records it already; or arm that for a stream to come."""
        started = await services.control.start(
            order.target,
            order.options,
            requested_by=BY_API,
            waits=order.wait,
            keep_alive=order.keep_alive,
        )
        if started.recording is not None:
            response.headers["location"] = f"/api/v1/recordings/{started.recording.id}"
            return StartedRecording.of_started(started.recording, started.armed)
        assert started.armed is not None
        response.status_code = 202
        return Armed.of(started.armed)


def _add_changes(router: APIRouter, services: Services) -> None:
    async def split(recording_id: str) -> Recording:
        """Go on in a new file, at the next key frame."""
        return Recording.of(await services.control.split(recording_id))

    async def pause(recording_id: str) -> Recording:
        """Let the stream pass by unrecorded. The time of the file stands still meanwhile."""
        return Recording.of(await services.control.pause(recording_id))

    async def resume(recording_id: str) -> Recording:
        """Go on after a pause, in the same file, at the next key frame."""
        return Recording.of(await services.control.resume(recording_id))

    verbs: tuple[Callable[[str], Awaitable[Recording]], ...] = (split, pause, resume)
    for verb in verbs:
        router.add_api_route(
            f"/recordings/{{recording_id}}/{verb.__name__}",
            verb,
            methods=["POST"],
            tags=["recordings"],
            operation_id=f"{verb.__name__}Recording",
            responses=problem_responses(403, 404, 409, 415),
        )


def _add_stop(router: APIRouter, services: Services) -> None:
    unfinished = {"model": RecordingWithFiles, "description": "It has ended; its files are being finished."}

    @router.post(
        "/recordings/{recording_id}/stop",
        tags=["recordings"],
        operation_id="stopRecording",
        responses={202: unfinished, **problem_responses(403, 404, 409, 415)},
    )
    async def stop_recording(recording_id: str, response: Response) -> RecordingWithFiles:
        """End a recording and wait for its final files. One that has ended already is answered as it is."""
        facts = await services.control.stop(recording_id)
        if facts.state is RecordingState.FINALIZING:
            response.status_code = 202
        (detail,) = await services.recordings.details([facts])
        return RecordingWithFiles.of_detail(detail)


def _add_armed(router: APIRouter, services: Services) -> None:
    @router.get("/armed", tags=["recordings"], operation_id="listArmed")
    async def list_armed() -> ArmedList:
        """Recordings that wait for their streams, the longest armed first."""
        return ArmedList(items=[Armed.of(armed) for armed in services.control.armed()])

    @router.delete(
        "/armed/{armed_id}",
        tags=["recordings"],
        operation_id="disarm",
        status_code=204,
        responses=problem_responses(403, 404),
    )
    async def disarm(armed_id: str) -> None:
        """Wait for the stream no longer. Recordings that have begun by it go on."""
        services.control.disarm(armed_id)


def _add_streams(router: APIRouter, services: Services) -> None:
    @router.delete(
        "/streams/{stream_id}",
        tags=["streams"],
        operation_id="closeStream",
        status_code=202,
        responses=problem_responses(403, 404),
    )
    async def close_stream(stream_id: str) -> Stream:
        """Ask a publisher to go. Its stream ends with its recordings; nothing keeps it from coming back."""
        status = services.streams.get(stream_id)
        answer = Stream.of(status, services.streams.uptime_ms(status))
        services.control.close_stream(stream_id)
        return answer
