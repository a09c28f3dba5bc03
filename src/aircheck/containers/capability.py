"""Which container can hold which codec, and what to take instead when one cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from aircheck.containers import flv, matroska, mp4, mpegts
from aircheck.media.track import Codec, Kind, Track


class Container(StrEnum):
    """A kind of file. The value is its name in settings and rows, and the extension of its files."""

    MP4 = "mp4"
    MKV = "mkv"
    WEBM = "webm"
    TS = "ts"
    FLV = "flv"


_HOLDS: Mapping[Container, frozenset[Codec]] = {
    Container.MP4: mp4.SUPPORTED_CODECS,
    Container.MKV: frozenset(filter(matroska.can_hold, Codec)),
    Container.WEBM: frozenset(filter(matroska.can_hold_in_webm, Codec)),
    Container.TS: frozenset(filter(mpegts.can_hold, Codec)),
    Container.FLV: frozenset(filter(flv.can_hold, Codec)),
}

_INSTEAD: Mapping[Container, tuple[Container, ...]] = {
    Container.MP4: (Container.WEBM, Container.MKV),
    Container.MKV: (),
    Container.WEBM: (Container.MKV,),
    Container.TS: (Container.MP4, Container.MKV),
    Container.FLV: (Container.MKV,),
}
"""The next best first. Matroska is the last resort: it holds every codec of sound and pictures."""


def can_hold(container: Container, codec: Codec) -> bool:
    """Whether a file of this kind can have a track of this codec.

    FLV can have a second track of a kind only with a codec that Enhanced RTMP has a FourCC for; its writer
    tells then.
    """
    return codec in _HOLDS[container]


def can_change(container: Container, known: Track, track: Track) -> bool:
    """Whether a file of this kind can go on with `track` where it has `known`: video encoded otherwise."""
    return (
        container is Container.MP4
        and track.is_video
        and (track.codec, track.timescale) == (known.codec, known.timescale)
        and (bool(track.config) or not known.config)
    )


Preferred = tuple[tuple[Codec, "Container"], ...]
"""Containers for pictures of certain codecs, the most important first."""


def nearest(container: Container, codecs: Iterable[Codec], preferred: Preferred = ()) -> Container:
    """`container` itself if it can hold all of the codecs, else the next best that can.

    Data tracks never decide: where they do not fit they are left out. `preferred` containers come before
    `container` for streams with their codecs, as long as they hold the rest too.
    """
    wanted = frozenset(codec for codec in codecs if codec.kind is not Kind.DATA)
    first = (one for codec, one in preferred if codec in wanted)
    candidates = (*first, container, *_INSTEAD[container])
    return next((one for one in candidates if wanted <= _HOLDS[one]), Container.MKV)


_INDEX_BYTES_PER_S: Mapping[Container, int] = {
    Container.MP4: 1024,
    Container.MKV: 24,
    Container.WEBM: 24,
    Container.TS: 0,
    Container.FLV: 18,
}
"""An index of samples, and of key frames of which there is one a second."""


def index_bytes(container: Container, duration_s: int) -> int:
    """What to reserve for the index of a file that will be about so long. Too little does no harm."""
    return _INDEX_BYTES_PER_S[container] * duration_s
