"""Clips of recordings under /api/v1: over all files of a recording, in a container of choice."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from aircheck.containers.capability import Container
from aircheck.faces.api.files import DESCRIBED, Asked, Download, is_attachment
from aircheck.faces.file_response import RecordedFileResponse
from aircheck.service.clip_range import ClipRange
from aircheck.service.services import Services

StartS = Annotated[str | None, Query(description="Seconds from the beginning of the recording.")]
EndS = Annotated[str | None, Query(description="Where it ends, likewise; one of the two is needed.")]
Format = Annotated[
    Container | None,
    Query(description="The container, if another one than the recording's. The media is copied as it is."),
]


def clip_routes(services: Services) -> APIRouter:
    router = APIRouter(tags=["recordings"])
    path = "/api/v1/recordings/{recording_id}/clip"

    async def get_clip(
        recording_id: str,
        start_s: StartS = None,
        end_s: EndS = None,
        format: Format = None,
        download: Download = False,
        disposition: Asked = None,
    ) -> Response:
        """A part of a recording, cut without encoding; over all of its files if there are several."""
        clip = ClipRange.parse(start_s, end_s)
        container = None if format is None else format.value
        return RecordedFileResponse(
            lambda reader: services.clips.open_recording(recording_id, clip, container, reader),
            services.downloads,
            as_attachment=is_attachment(services, download, disposition),
        )

    router.get(path, operation_id="getClip", response_class=Response, responses=DESCRIBED)(get_clip)
    router.head(path, include_in_schema=False)(get_clip)
    return router
