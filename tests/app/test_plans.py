"""What the settings say of recordings reaches the recorder."""

from __future__ import annotations

from datetime import timedelta, timezone
from pathlib import Path

import pytest

from aircheck.app.plans import recording_plan
from aircheck.containers.capability import Container
from aircheck.media.track import Codec
from aircheck.recording.naming import OnConflict
from aircheck.recording.plan import AudioPlan, Mp4Audio, RecordingPlan
from aircheck.recording.rotation import RotationRule
from aircheck.settings import RecordSettings


def test_every_wish_about_recordings_is_in_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    plan = recording_plan(
        RecordSettings.model_validate(
            {
                "rotation": "3600",
                "rotation_aligned": True,
                "rotation_zone": "-03:30",
                "rotation_waits_for_keyframe": False,
                "data": True,
                "rotation_index": False,
                "max_duration_s": 1.5,
                "reconnect_s": 20,
                "splits_at_reconnect": True,
                "on_conflict": "version",
                "settle_s": 3,
                "min_free_bytes": "1MiB",
                "queue_max_bytes": "2MiB",
                "reserve_kb": 8,
                "format": "webm",
                "formats": {"h264": "ts"},
                "starts_on_keyframe": False,
                "mp4_audio": "aac",
                "audio_sample_rate": 11_025,
                "audio_channels": 1,
                "audio_bitrate_mode": 0,
            }
        )
    )
    assert plan == RecordingPlan(
        record_dir=tmp_path / "records",
        growing_dir=tmp_path / "records" / ".aircheck" / "growing",
        template=plan.template,
        rotation=RotationRule(
            duration_ms=3_600_000,
            is_aligned=True,
            zone=timezone(-timedelta(hours=3, minutes=30)),
            waits_for_keyframe=False,
        ),
        keeps_data=True,
        has_rotation_index=False,
        max_duration_ms=1500,
        reconnect_s=20,
        splits_at_reconnect=True,
        on_conflict=OnConflict.VERSION,
        queue_max_bytes=2 * 1024 * 1024,
        reserve_bytes=8 * 1024,
        settle_s=3,
        min_free_bytes=1024 * 1024,
        container="webm",
        preferred=((Codec.H264, Container.TS),),
        starts_on_keyframe=False,
        audio=AudioPlan(sample_rate=11_025, channels=1, bitrate_mode=0, mp4=Mp4Audio.AAC),
    )
    assert plan.template.text == "stream-{mediaSessionId}-{login}"


def test_what_is_left_out_never_ends_a_recording() -> None:
    plan = recording_plan(RecordSettings())
    assert plan.max_duration_ms is None
    assert not plan.rotation.is_rotating
    assert plan.reconnect_s == 0
    assert plan.on_conflict is OnConflict.FREE_NUMBER
    assert plan.preferred == ((Codec.VP9, Container.WEBM),)
