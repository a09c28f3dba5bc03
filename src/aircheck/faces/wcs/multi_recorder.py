"""`/multipleRecorder/…`: several media sessions in one file, a track for each."""

from __future__ import annotations

from aircheck.faces.wcs.arguments import Arguments
from aircheck.faces.wcs.methods import Answer, RestMethod
from aircheck.faces.wcs.streams import live_session
from aircheck.service.errors import NotFound
from aircheck.service.services import Services


def multi_recorder_methods(services: Services) -> tuple[RestMethod, ...]:
    async def startup(arguments: Arguments) -> Answer:
        await services.multi_recordings.start(arguments.required_text("uri"))
        return None

    async def terminate(arguments: Arguments) -> Answer:
        await services.multi_recordings.stop(arguments.required_text("uri"))
        return None

    async def add(arguments: Arguments) -> Answer:
        await services.multi_recordings.add(arguments.required_text("uri"), live_session(services, arguments))
        return None

    async def remove(arguments: Arguments) -> Answer:
        await services.multi_recordings.remove(
            arguments.required_text("uri"), arguments.required_text("mediaSessionId")
        )
        return None

    async def find_all(_: Arguments) -> Answer:
        found = [
            {
                "uri": one.uri,
                "mediaSessionsId": list(one.media_session_ids),
                "fileName": one.file_name,
            }
            for one in services.multi_recordings.all()
        ]
        if not found:
            raise NotFound(
                "no recorder of several sessions runs", remedy="/multipleRecorder/startup begins one"
            )
        return found

    member = '{"uri": "multi-recorder://test-record", "mediaSessionId": "…"}'
    return (
        RestMethod(
            ("/multipleRecorder/startup",),
            "Begin a recording that several media sessions may be added to.",
            startup,
            takes='{"uri": "multi-recorder://test-record"}',
            errors=(400, 409, 500),
        ),
        RestMethod(
            ("/multipleRecorder/terminate",),
            "End it and make its file final.",
            terminate,
            takes='{"uri": "multi-recorder://test-record"}',
            errors=(400, 404),
        ),
        RestMethod(
            ("/multipleRecorder/add",), "Record one more session.", add, takes=member, errors=(400, 404, 409)
        ),
        RestMethod(
            ("/multipleRecorder/remove",),
            "Record a session no longer.",
            remove,
            takes=member,
            errors=(400, 404),
        ),
        RestMethod(
            ("/multipleRecorder/find_all",),
            "The recordings of several sessions.",
            find_all,
            gives='[{"uri": "multi-recorder://test-record", "mediaSessionsId": ["…"], '
            '"fileName": "multi-recorder___test-record.mp4"}]',
            errors=(404, 500),
        ),
    )
