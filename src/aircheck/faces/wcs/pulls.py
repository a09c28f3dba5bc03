"""`/pull/…` and `/rtsp/…`: streams fetched from other servers, which this server does not do yet.

What there is none of is answered as WCS answers it; what would begin one says that it cannot.
"""

from __future__ import annotations

from aircheck.faces.wcs.arguments import Arguments
from aircheck.faces.wcs.methods import Answer, RestMethod
from aircheck.service.errors import NotFound, NotSupported

_NOT_YET = "Not built yet. "


def pull_methods() -> tuple[RestMethod, ...]:
    return (*_rtmp_methods(), *_rtsp_methods())


def _rtmp_methods() -> tuple[RestMethod, ...]:
    async def pull(arguments: Arguments) -> Answer:
        raise _unsupported("rtmp", arguments.required_text("uri"))

    async def find_all(_: Arguments) -> Answer:
        return []

    async def terminate(arguments: Arguments) -> Answer:
        raise _no_pull(arguments.text("uri") or arguments.required_text("localStreamName"))

    return (
        RestMethod(
            ("/pull/rtmp/pull", "/pull/pull"),
            f"{_NOT_YET}Fetch a stream of another server.",
            pull,
            takes='{"uri": "rtmp://…", "localStreamName": "stream1", "record": true}',
            errors=(400, 501),
        ),
        RestMethod(
            ("/pull/rtmp/find_all", "/rtmp/pull/find_all", "/pull/find_all"),
            "Streams that are fetched: none.",
            find_all,
            gives="[]",
        ),
        RestMethod(
            ("/pull/rtmp/terminate", "/pull/terminate"),
            f"{_NOT_YET}Fetch a stream no more.",
            terminate,
            takes='{"uri": "rtmp://…"}',
            errors=(400, 404),
        ),
    )


def _rtsp_methods() -> tuple[RestMethod, ...]:
    async def startup(arguments: Arguments) -> Answer:
        raise _unsupported("rtsp", arguments.required_text("uri"))

    async def find(_: Arguments) -> Answer:
        raise NotFound("no camera is fetched from")

    async def terminate(arguments: Arguments) -> Answer:
        raise _no_pull(arguments.required_text("uri"))

    return (
        RestMethod(
            ("/rtsp/startup",),
            f"{_NOT_YET}Fetch the stream of a camera.",
            startup,
            takes='{"uri": "rtsp://…", "localStreamName": "camera1"}',
            errors=(400, 501),
        ),
        RestMethod(
            ("/rtsp/find_all", "/rtsp/find"), "Cameras that are fetched from: none.", find, errors=(404,)
        ),
        RestMethod(
            ("/rtsp/terminate",),
            f"{_NOT_YET}Fetch from a camera no more.",
            terminate,
            takes='{"uri": "rtsp://…"}',
            errors=(400, 404),
        ),
    )


def _unsupported(scheme: str, uri: str) -> NotSupported:
    return NotSupported(
        f"streams cannot be fetched by {scheme.upper()} yet: {uri}",
        remedy="have the source publish to this server, for example with FFmpeg between them",
    )


def _no_pull(uri: str) -> NotFound:
    return NotFound(f"nothing is fetched from {uri}", remedy="/pull/rtmp/find_all lists what is fetched")
