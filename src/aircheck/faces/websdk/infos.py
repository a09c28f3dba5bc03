"""Statuses and the reasons beside them, in the words that the client compares with."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urlsplit

from aircheck.errors import AircheckError
from aircheck.service.errors import InvalidRequest
from aircheck.webrtc import errors
from aircheck.webrtc.states import Info, PeerState


class Status(StrEnum):
    PUBLISHING = "PUBLISHING"
    UNPUBLISHED = "UNPUBLISHED"
    PLAYING = "PLAYING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


STREAM_NOT_FOUND = "Stream not found"
NOT_READY = "Publish stream is not ready"
NAME_IN_USE = "Stream name is already in use"
MEDIA_SESSION_IN_USE = "MediaSessionId is already in use"
NO_MEDIA_SESSION = "MediaSessionId is null"
SESSION_NOT_READY = "Session not ready"
NO_SUCH_SESSION = "Session does not exist"
NO_COMMON_CODECS = "No common codecs"
NO_ACCESS = "Restricted access"
NOT_ADDED = "Failed to add stream to proxy"
"""Of a description that cannot be read, and of a server that is full."""
NO_RTSP = "Failed to connect to rtsp stream"
BAD_URI = "Bad URI"
FAILED_BY_ERROR = "Failed by error"

_REFUSALS: tuple[tuple[type[AircheckError], str], ...] = (
    (errors.NoCommonCodecs, NO_COMMON_CODECS),
    (errors.NotAllowed, NO_ACCESS),
    (errors.NameInUse, NAME_IN_USE),
    (errors.MediaSessionInUse, MEDIA_SESSION_IN_USE),
    (errors.StreamNotReady, NOT_READY),
    (errors.StreamNotFound, STREAM_NOT_FOUND),
    (errors.PeerRefused, NOT_ADDED),
    (InvalidRequest, NOT_ADDED),
)
_OWN_WILL = (Info.USER, Info.DISCONNECT)
"""Ends of a peer that wanted to go."""


def info_of_refusal(error: AircheckError, name: str) -> str:
    """Why a stream is not taken. One called like a source to fetch tells that of the source."""
    if type(error) is errors.StreamNotFound and "://" in name:
        return _info_of_source(name)
    return next((info for kind, info in _REFUSALS if isinstance(error, kind)), FAILED_BY_ERROR)


def _info_of_source(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host:
        return BAD_URI
    return NO_RTSP if parts.scheme.lower() == "rtsp" else STREAM_NOT_FOUND


def status_of_end(state: PeerState, info: str, *, is_published: bool) -> Status:
    """What a client is told of a peer that has ended: who wanted to go has not failed."""
    if state is PeerState.CLOSED and info in _OWN_WILL:
        return Status.UNPUBLISHED if is_published else Status.STOPPED
    return Status.FAILED
