"""Settings: one TOML file, environment variables over it, refused with place and remedy where they are wrong.

    settings = load_settings(Path("aircheck.toml"))     # raises SettingsError
    settings.record.rotation                            # RotationRule(duration_ms=20000, size_bytes=None)

A variable `AIRCHECK_RECORD__ROTATION` stands for `rotation` in the table `[record]`. The app reads settings
and hands values down; no room below it imports this one.
"""

from aircheck.settings.access import AccessSettings, BackendHooksSettings
from aircheck.settings.browsers import WebRtcSettings, WebSdkSettings
from aircheck.settings.listeners import (
    HttpSettings,
    HttpsSettings,
    PumpSettings,
    RtmpSettings,
    RtmpsSettings,
    TlsSettings,
    WcsSettings,
)
from aircheck.settings.load import Problem, SettingsError, load_settings
from aircheck.settings.model import CatalogSettings, LogSettings, Settings
from aircheck.settings.recording import ClipsSettings, HooksSettings, RecordSettings
from aircheck.settings.values import Listen

__all__ = [
    "AccessSettings",
    "BackendHooksSettings",
    "CatalogSettings",
    "ClipsSettings",
    "HooksSettings",
    "HttpSettings",
    "HttpsSettings",
    "Listen",
    "LogSettings",
    "Problem",
    "PumpSettings",
    "RecordSettings",
    "RtmpSettings",
    "RtmpsSettings",
    "Settings",
    "SettingsError",
    "TlsSettings",
    "WcsSettings",
    "WebRtcSettings",
    "WebSdkSettings",
    "load_settings",
]
