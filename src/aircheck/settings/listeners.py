"""Where the server listens, and with which certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ByteSize, Field, model_validator

from aircheck.settings.fields import Address, AddressOrOff, OptionalPath, Section, TemplateText
from aircheck.settings.values import Listen


class RtmpSettings(Section):
    """Publishers and players over RTMP."""

    listen: Address = Field(
        default=Listen("127.0.0.1", 1935),
        description="Address and port. The default is reached from this machine only; to take streams from "
        "elsewhere write `0.0.0.0:1935` and set `[access]`, or start with `--host 0.0.0.0`.",
    )
    handshake_timeout_s: float = Field(
        default=10,
        gt=0,
        description="How long a peer may take from connecting to publishing or playing. Lower frees "
        "connections held by scanners sooner; too low refuses encoders on slow links.",
    )
    idle_timeout_s: float = Field(
        default=30,
        gt=0,
        description="A publisher that sends nothing for this long has gone: its recording ends and the "
        "stream name is free again. Higher bridges longer network outages, and keeps the name "
        "taken for as long.",
    )
    max_connections: int = Field(
        default=2000,
        ge=1,
        description="Connections at a time; one more is refused at once. Each costs about 50 KB in the "
        "kernel, and a file descriptor of `ulimit -n`.",
    )
    max_message_bytes: ByteSize = Field(
        default=ByteSize(10 * 1024 * 1024),
        ge=64 * 1024,
        description="The largest message a peer may announce; a larger one ends its connection. It bounds "
        "the memory one peer can take. A key frame of 4K video at high rates may need several "
        "megabytes.",
    )
    publish_modes: bool = Field(
        default=True,
        description="Publishers may ask for a recording by how they publish, as with Flash Media Server: "
        "`record` replaces an older file of the stream's name, `append` and `appendWithGap` go on in it. It "
        "takes the place of the recording by `[record]`, and works with `[record] enabled` off too. Off: all "
        "publish like `live`, and nobody can replace a file by publishing.",
    )
    publish_modes_name: TemplateText = Field(
        default="{streamName}",
        description="The names of such files, as in `[record] name`. `{app}/streams/_definst_/{streamName}` "
        "lays them out as Flash Media Server does. With elements that differ each time, nothing is ever "
        "replaced or appended to.",
    )
    first_viewer_at_once: bool = Field(
        default=False,
        description="Keep the last group of pictures of each stream all the time, so that its first viewer "
        "sees it at once, over RTMP, WHEP or the WebSDK. It takes that much memory for each stream, and a "
        "tenth more CPU time. Off: kept from the first viewer on, who waits for the next key frame.",
    )


class TlsSettings(Section):
    """The certificate of every listener inside TLS; `aircheck cert` makes one to begin with."""

    cert: OptionalPath = Field(
        default=None,
        description="The certificate chain, PEM. Empty: nothing listens inside TLS.",
    )
    key: OptionalPath = Field(
        default=None,
        description="The private key of `cert`, PEM, without a passphrase. Whoever can read it can pose as "
        "this server.",
    )

    @model_validator(mode="after")
    def _is_a_pair(self) -> TlsSettings:
        return _with_pair(self)


class RtmpsSettings(Section):
    """RTMP inside TLS."""

    listen: AddressOrOff = Field(
        default=None,
        description="Address and port, usually `0.0.0.0:443` or `0.0.0.0:1936`. Empty: no RTMPS.",
    )
    cert: OptionalPath = Field(
        default=None, description="A certificate chain of its own, PEM. Empty: that of `[tls]`."
    )
    key: OptionalPath = Field(
        default=None, description="The private key of `cert`, PEM, without a passphrase."
    )

    @model_validator(mode="after")
    def _is_a_pair(self) -> RtmpsSettings:
        return _with_pair(self)


CertifiedSection = TypeVar("CertifiedSection", TlsSettings, RtmpsSettings)


def _with_pair(section: CertifiedSection) -> CertifiedSection:
    if (section.cert is None) != (section.key is None):
        raise ValueError("a certificate is of use only with its key: set both cert and key")
    return section


def pair(section: TlsSettings | RtmpsSettings) -> tuple[Path, Path] | None:
    return None if section.cert is None or section.key is None else (section.cert, section.key)


class HttpSettings(Section):
    """The web page, the API, downloads and metrics."""

    listen: Address = Field(
        default=Listen("127.0.0.1", 8081),
        description="Address and port. Whoever reaches it may list and download every recording: "
        "put a proxy with authentication before it when it listens elsewhere than on this "
        "machine.",
    )
    disposition: Literal["inline", "attachment"] = Field(
        default="inline",
        description="What browsers do with the link of a recorded file: `inline` plays it, `attachment` "
        "saves it. A request may ask for the other by `?disposition=`.",
    )


class HttpsSettings(Section):
    """The web page, the API and downloads inside TLS."""

    listen: AddressOrOff = Field(
        default=Listen("127.0.0.1", 8444),
        description="Address and port, once `[tls]` has a certificate. Empty: no HTTPS. Clients of a "
        "Flashphoner WCS expect 8444.",
    )


class WcsSettings(Section):
    """The REST API of Flashphoner WCS, under `/rest-api` on the ports of `[http]` and `[https]`."""

    enabled: bool = Field(default=True, description="Off: `/rest-api` is not there.")
    allow_origin: str = Field(
        default="*",
        description="Pages that browsers let call it, as an origin such as `https://studio.example`. `*`, as "
        "clients of WCS expect it, are all pages: on a network with people on it, any page that one of them "
        "opens can stop recordings then. Empty: only pages of this server.",
    )
    node_id: str = Field(
        default="", description="What this server calls itself in answers; empty: the name of the machine."
    )


class PumpSettings(Section):
    """How often sockets are read."""

    interval_ms: int = Field(
        default=400,
        ge=5,
        le=1000,
        description="Publishers that only recordings drain are read this often. Longer costs less CPU, and "
        "delays every byte by as much; what has not been read yet is lost when the server is killed.",
    )
