"""Every setting: its name, its default, and what it costs to change it.

This is the only registry: the configuration file, the environment variables and the reference page are all
made from these fields. Each description says what follows from the value, not only what it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from aircheck.settings.access import AccessSettings, BackendHooksSettings
from aircheck.settings.browsers import WebRtcSettings, WebSdkSettings
from aircheck.settings.fields import OptionalPath, Section
from aircheck.settings.listeners import (
    HttpSettings,
    HttpsSettings,
    PumpSettings,
    RtmpSettings,
    RtmpsSettings,
    TlsSettings,
    WcsSettings,
    pair,
)
from aircheck.settings.recording import HIDDEN_FOLDER, ClipsSettings, HooksSettings, RecordSettings
from aircheck.settings.values import Listen

ENV_PREFIX = "AIRCHECK_"
ENV_DELIMITER = "__"


class CatalogSettings(Section):
    """The database of streams, recordings and segments."""

    path: OptionalPath = Field(
        default=None,
        description="The SQLite file; empty: `aircheck.db` in the hidden folder `.aircheck` of the record "
        "folder. It must be on a local disk. It can be rebuilt from the recordings.",
    )


class LogSettings(Section):
    """What the server says about itself, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least important line that is written. `debug` names every message of every peer.",
    )
    format: Literal["console", "logfmt", "json"] = Field(
        default="console",
        description="`console` is for people, in colour on a terminal; `logfmt` and `json` are for "
        "machines, one event a line.",
    )


class Settings(BaseSettings):
    """All settings of one server. Made by `load_settings`, handed down by value."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
        env_nested_max_split=1,
        nested_model_default_partial_update=True,
    )

    rtmp: RtmpSettings = RtmpSettings()
    rtmps: RtmpsSettings = RtmpsSettings()
    http: HttpSettings = HttpSettings()
    https: HttpsSettings = HttpsSettings()
    tls: TlsSettings = TlsSettings()
    wcs: WcsSettings = WcsSettings()
    webrtc: WebRtcSettings = WebRtcSettings()
    websdk: WebSdkSettings = WebSdkSettings()
    record: RecordSettings = RecordSettings()
    clips: ClipsSettings = ClipsSettings()
    hooks: HooksSettings = HooksSettings()
    catalog: CatalogSettings = CatalogSettings()
    access: AccessSettings = AccessSettings()
    backend_hooks: BackendHooksSettings = BackendHooksSettings()
    pump: PumpSettings = PumpSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which comes in as keyword arguments."""
        return env_settings, init_settings

    @property
    def certificate(self) -> tuple[Path, Path] | None:
        """Certificate chain and key of what listens inside TLS; None: nothing does."""
        return pair(self.tls)

    @property
    def rtmps_certificate(self) -> tuple[Path, Path] | None:
        return pair(self.rtmps) or self.certificate

    @property
    def catalog_path(self) -> Path:
        return self.catalog.path or self.record.dir / HIDDEN_FOLDER / "aircheck.db"

    def with_host(self, host: str) -> Settings:
        """The same settings with every listener moved to `host`; their ports stay."""
        moved = {
            name: section.model_copy(update={"listen": Listen(host, section.listen.port)})
            for name, section in (
                ("rtmp", self.rtmp),
                ("rtmps", self.rtmps),
                ("http", self.http),
                ("https", self.https),
                ("webrtc", self.webrtc),
            )
            if section.listen is not None
        }
        websdk = {
            name: Listen(host, listen.port)
            for name, listen in (("listen", self.websdk.listen), ("listen_tls", self.websdk.listen_tls))
            if listen is not None
        }
        return self.model_copy(update={**moved, "websdk": self.websdk.model_copy(update=websdk)})
