"""FlvMuxer: tracks and packets become RTMP's audio, video and data messages.

H.264, AAC, MP3, G.711 and Speex on the first track of their kind go out as every player knows them; all else
goes as Enhanced RTMP v2, further tracks of a kind as its multitrack messages of one track.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from aircheck.media import flac, vp9
from aircheck.media.packet import Packet
from aircheck.media.timeline import rescale
from aircheck.media.track import DATA_TRACK, Codec, Kind, Track
from aircheck.wire import amf, flv
from aircheck.wire.amf import AmfValue, EcmaArray
from aircheck.wire.flv import (
    AUDIO_MESSAGE,
    DATA_MESSAGE,
    VIDEO_MESSAGE,
    AudioPacketType,
    VideoPacketType,
)

Message: TypeAlias = tuple[int, int, bytes]
"""RTMP message type, 32-bit timestamp in milliseconds, body."""

_TIMESTAMP_MASK = 0xFFFFFFFF
_MAX_COMPOSITION_TIME_MS = 0x7FFFFF
_WITH_COMPOSITION_TIME = frozenset((Codec.H264, Codec.H265))
_WITHOUT_HEADER = frozenset((Codec.VP8, Codec.MP3, Codec.AC3, Codec.PCMA, Codec.PCMU, Codec.SPEEX))


class _Route:
    """How the packets of one track are written: the bytes before a frame are made once."""

    __slots__ = ("frame_head", "inter_head", "is_timed", "is_video", "key_head", "track", "track_index")

    def __init__(self, track: Track, track_index: int) -> None:
        self.track = track
        self.track_index = track_index
        self.is_video = track.is_video
        self.is_timed = track.codec in _WITH_COMPOSITION_TIME
        """Whether a composition time follows the head."""
        if self.is_video:
            self.key_head, self.inter_head = (self._video_head(is_keyframe) for is_keyframe in (True, False))
        else:
            self.frame_head = flv.audio_header(
                track.codec,
                AudioPacketType.CODED_FRAMES,
                track_index=track_index,
                sample_rate=track.sample_rate,
                channels=track.channels,
            )

    def _video_head(self, is_keyframe: bool) -> bytes:
        # Any composition time but 0 leads to the form that has one; it is cut off again.
        head = flv.video_header(
            self.track.codec,
            VideoPacketType.CODED_FRAMES,
            is_keyframe=is_keyframe,
            composition_time_ms=int(self.is_timed),
            track_index=self.track_index,
        )
        return head[:-3] if self.is_timed else head

    def header(self) -> tuple[int, bytes] | None:
        """Type and body of the sequence header; None for codecs that do without."""
        track = self.track
        if track.codec in _WITHOUT_HEADER or not track.config:
            return None
        if self.is_video:
            video_head = flv.video_header(
                track.codec, VideoPacketType.SEQUENCE_START, track_index=self.track_index
            )
            return VIDEO_MESSAGE, video_head + _header_body(track)
        audio_head = flv.audio_header(
            track.codec, AudioPacketType.SEQUENCE_START, track_index=self.track_index
        )
        return AUDIO_MESSAGE, audio_head + _header_body(track)


def _header_body(track: Track) -> bytes:
    match track.codec:
        case Codec.VP9:
            return vp9.FULL_BOX_HEADER + track.config
        case Codec.FLAC:
            return flac.build_header(track.config)
        case _:
            return track.config


class FlvMuxer:
    """Multiplexes one stream for one receiver. `origin_ms` of the stream's time is timestamp 0."""

    def __init__(self, tracks: Sequence[Track], *, origin_ms: int = 0) -> None:
        self.origin_ms = origin_ms
        self._routes: dict[int, _Route] = {}
        for track in tracks:
            self._add_route(track)

    def header_messages(self, *, timestamp_ms: int = 0, is_publishing: bool = False) -> list[Message]:
        """onMetaData and the sequence headers. A publisher wraps the former into `@setDataFrame`."""
        messages = [(DATA_MESSAGE, timestamp_ms, self._metadata(is_publishing))]
        for route in self._routes.values():
            header = route.header()
            if header is not None:
                messages.append((header[0], timestamp_ms, header[1]))
        return messages

    def to_messages(self, packets: Sequence[Packet]) -> list[Message]:
        """The messages of packets, in their order.

        A track that is new, or has a new configuration, gets its sequence header first. Tracks that RTMP has
        no code for (G.711 beside other audio) are left out. Times before the origin become 0.
        """
        messages: list[Message] = []
        for packet in packets:
            track = packet.track
            route = self._routes.get(track.id)
            if route is None or route.track is not track:
                if track is DATA_TRACK:
                    messages.append((DATA_MESSAGE, self._timestamp(packet), bytes(packet.data)))
                    continue
                route = self._add_route(track)
                header = route.header() if route is not None else None
                if header is not None:
                    messages.append((header[0], self._timestamp(packet), header[1]))
            if route is not None:
                messages.append(self._frame(route, packet))
        return messages

    def _frame(self, route: _Route, packet: Packet) -> Message:
        timestamp_ms = self._timestamp(packet)
        if not route.is_video:
            return AUDIO_MESSAGE, timestamp_ms, b"".join((route.frame_head, packet.data))
        head = route.key_head if packet.is_keyframe else route.inter_head
        if not route.is_timed:
            return VIDEO_MESSAGE, timestamp_ms, b"".join((head, packet.data))
        delay_ms = _to_ms(packet.pts, packet.track) - _to_ms(packet.dts, packet.track)
        delay_ms = max(-_MAX_COMPOSITION_TIME_MS, min(delay_ms, _MAX_COMPOSITION_TIME_MS))
        composition_time = (delay_ms & 0xFFFFFF).to_bytes(3, "big")
        return VIDEO_MESSAGE, timestamp_ms, b"".join((head, composition_time, packet.data))

    def _timestamp(self, packet: Packet) -> int:
        return max(_to_ms(packet.dts, packet.track) - self.origin_ms, 0) & _TIMESTAMP_MASK

    def _add_route(self, track: Track) -> _Route | None:
        known = self._routes.get(track.id)
        if known is not None and known.track.kind is track.kind:
            index = known.track_index
        else:
            index = sum(route.track.kind is track.kind for route in self._routes.values())
        if not flv.can_carry(track.codec, index):
            return None
        route = self._routes[track.id] = _Route(track, index)
        return route

    def _metadata(self, is_publishing: bool) -> bytes:
        members: dict[str, AmfValue] = EcmaArray()
        for route in self._routes.values():
            if route.track_index == 0:
                members.update(_describe(route.track))
        for kind in (Kind.VIDEO, Kind.AUDIO):
            further: dict[str, AmfValue] = {
                str(route.track_index): dict(_describe(route.track))
                for route in self._routes.values()
                if route.track.kind is kind and route.track_index
            }
            if further:
                members[f"{kind}TrackIdInfoMap"] = further
        members["encoder"] = "Aircheck"
        if is_publishing:
            return amf.serialize("@setDataFrame", "onMetaData", members)
        return amf.serialize("onMetaData", members)


def _to_ms(ticks: int, track: Track) -> int:
    """To the nearest: audio whose milliseconds were rounded on the way in comes out as it was."""
    return ticks if track.timescale == 1000 else rescale(ticks, track.timescale, 1000)


def _describe(track: Track) -> Mapping[str, AmfValue]:
    """A track in the words of onMetaData (Enhanced RTMP, "Enhancing onMetaData")."""
    codec_id = flv.metadata_codec_id(track.codec)
    if track.is_video:
        size = {"width": track.width, "height": track.height} if track.width else {}
        return {"videocodecid": codec_id, **size}
    return {
        "audiocodecid": codec_id,
        "audiosamplerate": track.sample_rate,
        "audiosamplesize": 16,
        "audiochannels": track.channels,
        "stereo": track.channels == 2,
    }
