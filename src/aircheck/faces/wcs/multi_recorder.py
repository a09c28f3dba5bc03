"""`/multipleRecorder/…`: several media sessions in one file, a track for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aircheck.faces.wcs.arguments import Arguments
from aircheck.faces.wcs.methods import Answer, RestMethod
from aircheck.service.errors import NotFound, NotSupported
from aircheck.service.services import Services


class MultiRecording(Protocol):
    @property
    def uri(self) -> str: ...
    @property
    def media_session_ids(self) -> Sequence[str]: ...
    @property
    def file_name(self) -> str: ...


class MultiRecordings(Protocol):
    """The service behind it. Raises `NotFound` and `Conflict`."""

    async def start(self, uri: str) -> object: ...
    async def stop(self, uri: str) -> object: ...
    async def add(self, uri: str, media_session_id: str) -> object: ...
    async def remove(self, uri: str, media_session_id: str) -> object: ...
    def all(self) -> Sequence[MultiRecording]: ...


def multi_recorder_methods(services: Services) -> tuple[RestMethod, ...]:
    def recordings() -> MultiRecordings:
        found: MultiRecordings | None = getattr(services, "multi_recordings", None)
        if found is None:
            raise NotSupported("several streams cannot be recorded into one file yet")
        return found

    async def startup(arguments: Arguments) -> Answer:
        await recordings().start(arguments.required_text("uri"))
        return None

    async def terminate(arguments: Arguments) -> Answer:
        await recordings().stop(arguments.required_text("uri"))
        return None

    async def add(arguments: Arguments) -> Answer:
        await recordings().add(arguments.required_text("uri"), arguments.required_text("mediaSessionId"))
        return None

    async def remove(arguments: Arguments) -> Answer:
        await recordings().remove(arguments.required_text("uri"), arguments.required_text("mediaSessionId"))
        return None

    async def find_all(_: Arguments) -> Answer:
        found = [
            {
                "uri": one.uri,
                "mediaSessionsId": list(one.media_session_ids),
                "fileName": one.file_name,
            }
            for one in recordings().all()
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
            errors=(400, 409),
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
