"""Recorded files under /client/records, finished and growing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from aircheck.faces.api.models import RECORDS_PATH
from aircheck.faces.api.routes import problem_responses
from aircheck.faces.file_response import RecordedFileResponse
from aircheck.service.services import Services


class Disposition(StrEnum):
    INLINE = "inline"
    ATTACHMENT = "attachment"


Name = Annotated[str, Path(description="The file's name in the catalogue; may contain folders.")]
Download = Annotated[bool, Query(description="`1`: let the browser save the file instead of playing it.")]
Asked = Annotated[Disposition | None, Query(description="The same in words; wins over `download`.")]

_MEDIA: dict[str, Any] = {"video/*": {"schema": {"type": "string", "format": "binary"}}}
_DESCRIBED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": _MEDIA},
    206: {"description": "The part, or the parts, that `Range` asked for.", "content": _MEDIA},
    304: {"description": "The client has it already."},
    412: {"description": "`If-Match` or `If-Unmodified-Since` does not hold."},
    416: {"description": "Nothing that `Range` asked for exists; `Content-Range` has the size."},
    **problem_responses(404, 422, 503),
}


def file_routes(services: Services) -> APIRouter:
    router = APIRouter(tags=["files"])

    def respond(name: str, download: bool, disposition: Disposition | None) -> Response:
        downloads = services.downloads
        as_attachment = download or downloads.as_attachment
        if disposition is not None:
            as_attachment = disposition is Disposition.ATTACHMENT
        return RecordedFileResponse(downloads, name, as_attachment=as_attachment)

    path = f"{RECORDS_PATH}/{{name:path}}"

    @router.get(path, operation_id="getRecordedFile", response_class=Response, responses=_DESCRIBED)
    async def get_file(name: Name, download: Download = False, disposition: Asked = None) -> Response:
        """A recorded file, whole or in parts. One that still grows can be played and seeked too."""
        return respond(name, download, disposition)

    @router.head(path, include_in_schema=False)
    async def head_file(name: Name, download: Download = False, disposition: Asked = None) -> Response:
        return respond(name, download, disposition)

    return router
