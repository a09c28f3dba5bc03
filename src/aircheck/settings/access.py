"""Who may publish and play."""

from __future__ import annotations

from typing import Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from aircheck.settings.fields import Section


class AccessSettings(Section):
    """Who may publish. While all three are empty everybody may who reaches the port."""

    publish_users: dict[str, SecretStr] = Field(
        default_factory=dict,
        description='Logins and their passwords: `{ studio = "secret" }`. Encoders give them as `user` and '
        "`pass` in the URL or by their own authentication fields.",
    )
    adobe_challenge: bool = Field(
        default=False,
        description="Ask every publisher for a login of `publish_users` when it connects, as encoders with "
        "a user and a password field (OBS, FMLE) expect. Encoders that give credentials behind "
        "the stream key then fail.",
    )
    publish_tokens: tuple[SecretStr, ...] = Field(
        default=(),
        description="Tokens, any one of which lets publish: `?token=…` behind the URL or the stream name.",
    )
    publish_keys: tuple[SecretStr, ...] = Field(
        default=(),
        description="Stream keys: a stream whose name is one of these is accepted. The key then is the "
        "name, and stands in file names and logs.",
    )

    @property
    def is_open(self) -> bool:
        return not (self.publish_users or self.publish_tokens or self.publish_keys)


HookMethod = Literal[
    "connect",
    "ConnectionStatusEvent",
    "publishStream",
    "unPublishStream",
    "playStream",
    "stopStream",
    "StreamStatusEvent",
]


class BackendHooksSettings(Section):
    """A server of yours that is asked who may publish and play, and told what happens, as by Flashphoner WCS.

    The rules of `[access]` come first. Requests are `POST URL/publishStream` and so on, with JSON.
    """

    url: str = Field(
        default="",
        description="Where the methods are, such as `https://studio.example/hooks`. Empty: nobody is asked, "
        "but for applications in `urls`. Every publisher waits for its answers before it may begin.",
    )
    urls: dict[str, str] = Field(
        default_factory=dict,
        description='By application, in place of `url`: `{ live = "https://studio.example/live" }`. RTMP '
        "peers are of the application in their URL, or else of `flashStreamingApp`.",
    )
    secret: SecretStr = Field(
        default=SecretStr(""),
        description="The key of `Authorization: WCS …`, the HMAC-MD5 of the body, by which the backend tells "
        "this server from others. Empty: no signature. A login in the URL takes its place in that header.",
    )
    timeout_s: float = Field(
        default=15,
        gt=0,
        le=300,
        description="How long an answer may take. Peers wait for it; longer than an encoder's patience, and "
        "it comes back before it was answered.",
    )
    on_error: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="What happens to peers when the backend is down, late, or answers neither 200 nor 403. "
        "`refuse` lets nobody in unasked, and an outage of the backend then keeps new streams from being "
        "recorded; `allow` records them. A backend may say otherwise in its `restClientConfig`.",
    )
    methods: tuple[HookMethod, ...] = Field(
        default=get_args(HookMethod),
        description="Those that the backend has. `connect`, `publishStream` and `playStream` are asked, the "
        "others told; what is not asked is allowed.",
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return _http_url(url)

    @field_validator("urls")
    @classmethod
    def _are_http(cls, urls: dict[str, str]) -> dict[str, str]:
        return {app: _http_url(url) for app, url in urls.items()}

    @property
    def is_on(self) -> bool:
        return bool(self.url or self.urls)


def _http_url(url: str) -> str:
    if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
        raise ValueError(f'"{url}" is no URL; write for example "https://studio.example/hooks"')
    return url
