"""The objects of WCS: Stream and Connection. What is not known is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aircheck.facts import StreamFacts, TrackFacts
from aircheck.service.connections import ConnectionStatus
from aircheck.service.streams import StreamStatus

PUBLISHING = "PUBLISHING"
RTMP_APP = "flashStreamingApp"
"""The application that WCS counts all RTMP peers to, whatever stands in their URLs."""
DEFAULT_APP = "defaultApp"

_CODECS = {
    "h264": "H264",
    "h265": "H265",
    "vp8": "VP8",
    "vp9": "VP9",
    "av1": "AV1",
    "aac": "mpeg4-generic",
    "pcma": "PCMA",
    "pcmu": "PCMU",
}
"""Names as in session descriptions; others are written as here: `opus`, `speex`."""

_FPS_MIN_MS = 1000
"""A frame rate is told when so much was recorded."""


def media_provider(protocol: str) -> str:
    return "Flash" if protocol.startswith("rtmp") else "WebRTC"


def app_key(protocol: str, app: str) -> str:
    return RTMP_APP if protocol.startswith("rtmp") else app or DEFAULT_APP


def stream_object(facts: StreamFacts, status: str = PUBLISHING, **more: Any) -> dict[str, Any]:
    """A publication. `more` are fields that only some callers know; None is left out."""
    video, audio = (_first(facts.tracks, kind) for kind in ("video", "audio"))
    fields = {
        "appKey": app_key(facts.protocol, facts.app),
        "sessionId": facts.session_id,
        "mediaSessionId": facts.id,
        "name": facts.name,
        "published": True,
        "hasVideo": video is not None,
        "hasAudio": audio is not None,
        "status": status,
        "audioCodec": _codec(audio),
        "videoCodec": _codec(video),
        "record": False,
        "recordName": None,
        "width": video.width if video is not None else 0,
        "height": video.height if video is not None else 0,
        "bitrate": 0,
        "quality": 0,
        "fps": _fps(video),
        "createDate": facts.published_ns // 1_000_000,
        "mediaType": "publish",
        "mediaProvider": media_provider(facts.protocol),
    }
    return _known({**fields, **more})


def live_stream_object(
    stream: StreamStatus, record_name: str | None, *, has_metrics: bool = False
) -> dict[str, Any]:
    """A live stream. `record_name` is the file that is recorded now, if one is; `bitrate` is in kbit/s."""
    return stream_object(
        stream.facts,
        record=record_name is not None,
        recordName=record_name,
        bitrate=stream.bitrate_bps // 1000,
        metrics=_metrics(stream) if has_metrics else None,
    )


def connection_object(connection: ConnectionStatus, node_id: str) -> dict[str, Any]:
    return _known(
        {
            "nodeId": node_id,
            "appKey": app_key(connection.protocol, connection.app),
            "sessionId": connection.session_id,
            "status": "ESTABLISHED",
            "clientVersion": connection.client or None,
            "login": connection.login or None,
            "remoteAddress": connection.remote_address,
            "mediaProviders": [media_provider(connection.protocol)],
            "createDate": connection.connected_ns // 1_000_000,
        }
    )


def _metrics(stream: StreamStatus) -> Mapping[str, int]:
    return {
        "packets": stream.packets,
        "bytes": stream.size_bytes,
        "bitrate": stream.bitrate_bps,
        "droppedPackets": stream.dropped_packets,
        "gaps": stream.gaps,
        "subscribers": stream.subscribers,
    }


def _first(tracks: Sequence[TrackFacts], kind: str) -> TrackFacts | None:
    return next((track for track in tracks if track.kind == kind), None)


def _codec(track: TrackFacts | None) -> str | None:
    return None if track is None else _CODECS.get(track.codec, track.codec)


def _fps(video: TrackFacts | None) -> int | None:
    if video is None or video.duration_ms < _FPS_MIN_MS:
        return None
    return round(video.packets * 1000 / video.duration_ms)


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
