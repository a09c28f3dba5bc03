"""WebRTC, and pages made with the WebSDK."""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import Field, SecretStr, field_validator

from aircheck.faces.whip.ice_servers import IceServer
from aircheck.settings.fields import AddressOrOff, OptionalPath, Section
from aircheck.settings.values import Listen
from aircheck.webrtc.negotiate import CODEC_NAMES


class WebRtcSettings(Section):
    """Publishers and viewers over WebRTC. Offers come in over HTTP, all media by one port."""

    listen: AddressOrOff = Field(
        default=Listen("127.0.0.1", 8189),
        description="Address and port of all WebRTC media, by UDP and by TCP. `0.0.0.0:8189` is reached from "
        "elsewhere, `[::]:8189` by IPv6 too. Answers list the addresses of the port. Empty: no WebRTC. On "
        "127.0.0.1 UDP is open on all addresses to this machine alone, which the kernel sees to: Firefox "
        "sends nothing to 127.0.0.1 itself.",
    )
    public_addresses: tuple[str, ...] = Field(
        default=(),
        description="Addresses that clients reach the port by when this machine does not have them: behind "
        "NAT or in a container. They are listed in answers before its own; the port number must be the same.",
    )
    codecs: tuple[str, ...] = Field(
        default=("h264", "vp8", "vp9", "av1", "h265", "opus", "pcma", "pcmu"),
        description="What publishers may send, best first: of what a client offers, the first is taken. "
        "H.264 goes into MP4; a browser that offers it encodes it in hardware where it can.",
    )
    ice_servers: tuple[SecretStr, ...] = Field(
        default=(),
        description="STUN and TURN servers that clients of WHIP and WHEP are told of, such as "
        "`stun:stun.example.net` or `turn:user:password@turn.example.net:3478?transport=tcp`. Of use to "
        "clients whose networks let no UDP and no direct TCP through.",
    )
    start_bitrate_kbps: int = Field(
        default=1500,
        ge=0,
        description="Browsers begin with this bit rate of video, instead of some seconds of very small "
        "pictures. Too high for a link, it loses the first packets. 0: as the browser likes.",
    )
    max_peers: int = Field(
        default=1000,
        ge=1,
        description="Publishers and viewers at a time. Each costs some 200 KB once it is connected.",
    )
    connect_timeout_s: float = Field(
        default=15,
        gt=0,
        description="How long a peer may take from its answer to encrypted media. Its stream name is taken "
        "meanwhile.",
    )
    idle_timeout_s: float = Field(
        default=20,
        gt=0,
        description="A peer of which nothing at all is heard for this long has gone. Browsers send something "
        "every few seconds, whatever happens.",
    )
    media_timeout_s: float = Field(
        default=60,
        ge=0,
        description="A publisher that is there but sends no media for this long is let go. 0: never.",
    )

    @field_validator("ice_servers")
    @classmethod
    def _are_ice_servers(cls, servers: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for server in servers:
            IceServer.parse(server.get_secret_value())
        return servers

    @field_validator("public_addresses")
    @classmethod
    def _are_addresses(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ip_address(address)
        return addresses

    @field_validator("codecs")
    @classmethod
    def _are_codecs(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        for name in codecs:
            if name not in CODEC_NAMES:
                raise ValueError(f"{name!r} is none of {', '.join(CODEC_NAMES)}")
        return codecs


class WebSdkSettings(Section):
    """Pages made with Flashphoner's WebSDK."""

    listen: AddressOrOff = Field(
        default=Listen("127.0.0.1", 8080),
        description="Address and port of the WebSocket for pages that came over http. The pages expect 8080. "
        "Empty: none.",
    )
    listen_tls: AddressOrOff = Field(
        default=Listen("127.0.0.1", 8443),
        description="The same inside TLS for pages that came over https, once `[tls]` has a certificate. The "
        "pages expect 8443. Empty: none.",
    )
    client2_dir: OptionalPath = Field(
        default=None,
        description="Your copy of the vendor's package, the folder with `flashphoner.js` and `examples`: it "
        "is served as `/client2/` on the HTTP ports. Its scripts then run with the rights of this server's "
        "own pages. Empty: not served.",
    )
