"""Recorded files and parts of them under /client/records, finished and growing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from aircheck.faces.api.models import RECORDS_PATH
from aircheck.faces.api.routes import problem_responses
from aircheck.faces.file_response import RecordedFileResponse
from aircheck.service.clip_range import ClipRange
from aircheck.service.services import Services


class Disposition(StrEnum):
    INLINE = "inline"
    ATTACHMENT = "attachment"


Name = Annotated[str, Path(description="The file's name in the catalogue; may contain folders.")]
Start = Annotated[
    str | None,
    Query(
        description="Only the part from this second on. MP4 begins exactly there, the other containers at "
        "the key frame before. Files of a rotated recording go by one name without the part number."
    ),
]
End = Annotated[str | None, Query(description="Only the part before this second.")]
Download = Annotated[bool, Query(description="`1`: let the browser save the file instead of playing it.")]
Asked = Annotated[Disposition | None, Query(description="The same in words; wins over `download`.")]

_MEDIA: dict[str, Any] = {"video/*": {"schema": {"type": "string", "format": "binary"}}}
DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": _MEDIA},
    206: {"description": "The part, or the parts, that `Range` asked for.", "content": _MEDIA},
    304: {"description": "The client has it already."},
    412: {"description": "`If-Match` or `If-Unmodified-Since` does not hold."},
    **problem_responses(400, 404, 409, 422, 503, 507),
    416: {
        "description": "Nothing that `Range` asked for exists; `Content-Range` has the size. Or the "
        "recording has no such part; a problem says why."
    },
}


def is_attachment(services: Services, download: bool, disposition: Disposition | None) -> bool:
    """Whether browsers are told to save the file."""
    if disposition is not None:
        return disposition is Disposition.ATTACHMENT
    return download or services.downloads.as_attachment


def file_routes(services: Services) -> APIRouter:
    router = APIRouter(tags=["files"])

    def respond(
        name: str,
        start: str | None,
        end: str | None,
        download: bool,
        disposition: Disposition | None,
    ) -> Response:
        downloads = services.downloads
        as_attachment = is_attachment(services, download, disposition)
        if start or end:
            clip = ClipRange.parse(start, end)
            return RecordedFileResponse(
                lambda reader: services.clips.open(name, clip, reader=reader),
                downloads,
                as_attachment=as_attachment,
            )
        return RecordedFileResponse(
            lambda reader: downloads.open(name, reader), downloads, as_attachment=as_attachment
        )

    path = f"{RECORDS_PATH}/{{name:path}}"

    @router.get(path, operation_id="getRecordedFile", response_class=Response, responses=DESCRIBED)
    async def get_file(
        name: Name,
        start: Start = None,
        end: End = None,
        download: Download = False,
        disposition: Asked = None,
    ) -> Response:
        """A recorded file or a part of it. One that still grows can be played and seeked too."""
        return respond(name, start, end, download, disposition)

    @router.head(path, include_in_schema=False)
    async def head_file(
        name: Name,
        start: Start = None,
        end: End = None,
        download: Download = False,
        disposition: Asked = None,
    ) -> Response:
        return respond(name, start, end, download, disposition)

    return router
