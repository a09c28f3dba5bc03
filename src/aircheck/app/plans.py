"""What the settings ask of each room, in the words of that room."""

from __future__ import annotations

import socket
from dataclasses import replace

from aircheck.containers.capability import Container, Preferred
from aircheck.faces.wcs.app import WcsOptions
from aircheck.media.track import Codec
from aircheck.recording.hooks import HookPlan
from aircheck.recording.naming import NameTemplate, OnConflict
from aircheck.recording.plan import AudioPlan, Mp4Audio, RecordingPlan
from aircheck.recording.rotation import RotationRule
from aircheck.settings import RecordSettings, RtmpSettings, Settings, WcsSettings, WebRtcSettings
from aircheck.settings.recording import HIDDEN_FOLDER
from aircheck.webrtc.negotiate import CODEC_NAMES, Preferences
from aircheck.webrtc.peers import PeerRules
from aircheck.webrtc.states import PeerTimeouts

BACK_BUFFER_BYTES = 16 * 1024 * 1024
"""Of one stream's recent past, at the most."""


def recording_plan(record: RecordSettings) -> RecordingPlan:
    """The recording that every stream gets."""
    return RecordingPlan(
        record_dir=record.dir.absolute(),
        growing_dir=record.growing_dir.absolute(),
        template=NameTemplate.parse(
            record.name, encoding=record.name_encoding, excluded_characters=record.name_exclude_characters
        ),
        container=record.format,
        preferred=_preferred(record),
        audio=AudioPlan(
            sample_rate=record.audio_sample_rate,
            channels=record.audio_channels,
            bitrate_mode=record.audio_bitrate_mode,
            mp4=Mp4Audio(record.mp4_audio),
        ),
        keeps_data=record.data,
        starts_on_keyframe=record.starts_on_keyframe,
        rotation=_rotation(record),
        has_rotation_index=record.rotation_index,
        pre_roll_ms=round(record.pre_roll_s * 1000),
        max_duration_ms=round(record.max_duration_s * 1000) or None,
        reconnect_s=record.reconnect_s,
        splits_at_reconnect=record.splits_at_reconnect,
        on_conflict=OnConflict(record.on_conflict),
        queue_max_bytes=record.queue_max_bytes,
        reserve_bytes=record.reserve_kb * 1024,
        settle_s=record.settle_s,
        min_free_bytes=record.min_free_bytes,
    )


def modes_plan(rtmp: RtmpSettings, plan: RecordingPlan) -> RecordingPlan | None:
    """What recordings are based on that publishers ask for by their publish mode; None when they may not."""
    if not rtmp.publish_modes:
        return None
    return replace(
        plan,
        template=NameTemplate.parse(
            rtmp.publish_modes_name,
            encoding=plan.template.encoding,
            excluded_characters=plan.template.excluded_characters,
        ),
    )


def _preferred(record: RecordSettings) -> Preferred:
    wanted = {Codec(codec): Container(container) for codec, container in record.formats.items()}
    if record.vp9_to_webm and Container(record.format) is Container.MP4:
        wanted.setdefault(Codec.VP9, Container.WEBM)
    return tuple(wanted.items())


def _rotation(record: RecordSettings) -> RotationRule:
    return replace(
        record.rotation,
        is_aligned=record.rotation_aligned,
        zone=record.rotation_zone,
        waits_for_keyframe=record.rotation_waits_for_keyframe,
    )


def peer_rules(webrtc: WebRtcSettings) -> PeerRules:
    return PeerRules(
        preferences=Preferences(
            tuple(CODEC_NAMES[name] for name in webrtc.codecs), webrtc.start_bitrate_kbps
        ),
        timeouts=PeerTimeouts(webrtc.connect_timeout_s, webrtc.idle_timeout_s, webrtc.media_timeout_s),
        public_addresses=webrtc.public_addresses,
        max_peers=webrtc.max_peers,
        back_buffer_bytes=BACK_BUFFER_BYTES,
    )


def hook_plan(settings: Settings) -> HookPlan:
    hooks = settings.hooks
    several = hooks.on_multiple_record
    return HookPlan(
        script=hooks.on_record.absolute() if hooks.on_record is not None else None,
        script_for_several=several.absolute() if several is not None else None,
        waiting_dir=settings.record.dir.absolute() / HIDDEN_FOLDER / "hooks",
        timeout_s=hooks.timeout_s,
        max_parallel=hooks.max_parallel,
    )


def wcs_options(wcs: WcsSettings) -> WcsOptions | None:
    if not wcs.enabled:
        return None
    return WcsOptions(allowed_origin=wcs.allow_origin, node_id=node_id_of(wcs))


def node_id_of(wcs: WcsSettings) -> str:
    return wcs.node_id or socket.gethostname()
