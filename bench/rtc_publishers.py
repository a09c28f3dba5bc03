"""WebRTC publishers: a process of many that offer by WHIP, shake hands and send a clip in real time.

It prints one JSON line when all of them send, and another at the end: what was asked of them meanwhile. The
other side may be any WHIP server on loopback, with ICE in full or lite.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import secrets
import socket
import struct
import sys
import time
import urllib.request
from collections import Counter

from rtc_media import AUDIO_CLOCK, DURATION_S, VIDEO_CLOCK, Unit, load_units

from aircheck.webrtc.dtls import DtlsSession, Identity
from aircheck.webrtc.srtp import SrtpSession
from aircheck.wire import stun
from aircheck.wire.rtp import rtcp
from aircheck.wire.rtp.packet import HEAD

TICK_S = 0.005
CHECK_INTERVAL_S = 2.0
REPORT_INTERVAL_S = 1.0
SETUP_TIMEOUT_S = 10.0
NTP_EPOCH_S = 2_208_988_800
TRANSPORT_CC_ID = 3
VIDEO_TYPE, AUDIO_TYPE = 102, 111

_OFFER = """\
v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
m=audio 9 UDP/TLS/RTP/SAVPF 111
{common}
a=mid:0
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=ssrc:{audio_ssrc} cname:bench
m=video 9 UDP/TLS/RTP/SAVPF 102
{common}
a=mid:1
a=rtcp-fb:102 nack
a=rtcp-fb:102 nack pli
a=rtcp-fb:102 transport-cc
{format}
a=ssrc:{video_ssrc} cname:bench
"""
_COMMON = """\
c=IN IP4 0.0.0.0
a=rtcp-mux
a=ice-ufrag:{ufrag}
a=ice-pwd:{password}
a=fingerprint:{fingerprint}
a=setup:active
a=sendonly
a=msid:bench bench
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"""
_FORMATS = {
    "h264": "a=rtpmap:102 H264/90000\n"
    "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    "vp8": "a=rtpmap:102 VP8/90000",
}


class Publisher:
    """One peer. The socket never waits once `connect` has returned."""

    def __init__(self, url: str, codec: str, identity: Identity, asked: Counter[str]) -> None:
        self.asked = asked
        self._identity = identity
        self._ufrag, self._password = secrets.token_hex(4), secrets.token_hex(12)
        self._ssrcs = {True: secrets.randbits(32), False: secrets.randbits(32)}
        self._numbers = {True: 0, False: 0}
        self._counts = {True: [0, 0], False: [0, 0]}
        self._transport_number = 0
        answer = self._offer(url, codec)
        self._fingerprint = _find(r"a=fingerprint:(\S+) (\S+)", answer)
        (self._remote_ufrag,) = _find(r"a=ice-ufrag:(\S+)", answer)
        (self._remote_password,) = _find(r"a=ice-pwd:(\S+)", answer)
        (port,) = _find(r"a=candidate:\S+ 1 (?:udp|UDP) \d+ 127\.0\.0\.1 (\d+) typ host", answer)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", int(port)))
        self._srtp: SrtpSession | None = None

    def _offer(self, url: str, codec: str) -> str:
        common = _COMMON.format(
            ufrag=self._ufrag, password=self._password, fingerprint=self._identity.fingerprint
        )
        offer = _OFFER.format(
            common=common,
            format=_FORMATS[codec],
            audio_ssrc=self._ssrcs[False],
            video_ssrc=self._ssrcs[True],
        ).replace("\n", "\r\n")
        request = urllib.request.Request(url, offer.encode(), {"content-type": "application/sdp"})
        with urllib.request.urlopen(request, timeout=SETUP_TIMEOUT_S) as response:
            return str(response.read().decode())

    def connect(self) -> None:
        """Check, handshake. Raises TimeoutError."""
        dtls = DtlsSession(self._identity, (self._fingerprint[0], self._fingerprint[1]), is_client=True)
        until_s = time.monotonic() + SETUP_TIMEOUT_S
        self._socket.settimeout(0.1)
        is_answered = False
        while not dtls.is_connected:
            if time.monotonic() > until_s:
                raise TimeoutError("no connection")
            if not is_answered:
                self.check()
            with contextlib.suppress(TimeoutError):
                datagram = self._socket.recv(2048)
                if datagram[0] >= 4:
                    self._send(dtls.receive(datagram))
                elif self._take_stun(datagram) and not is_answered:
                    is_answered = True
                    self._send(dtls.begin())
        assert dtls.keys is not None
        self._srtp = SrtpSession(dtls.keys, self.asked)
        self._socket.setblocking(False)

    def check(self) -> None:
        attributes = [
            (stun.Attribute.USERNAME, f"{self._remote_ufrag}:{self._ufrag}".encode()),
            (stun.Attribute.ICE_CONTROLLING, secrets.token_bytes(8)),
            (stun.Attribute.PRIORITY, struct.pack("!I", 0x7E0000FF)),
            (stun.Attribute.USE_CANDIDATE, b""),
        ]
        key = self._remote_password.encode()
        request = stun.serialize(stun.Type.BINDING_REQUEST, secrets.token_bytes(12), attributes, key=key)
        self._send([request])

    def _take_stun(self, datagram: bytes) -> bool:
        """Answer a check of the other side; whether it was an answer to ours."""
        message = stun.parse(datagram)
        if message.type is stun.Type.BINDING_REQUEST:
            self._send([stun.success(message, *self._socket.getpeername(), self._password.encode())])
        return message.type is stun.Type.BINDING_SUCCESS

    def _send(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            try:
                self._socket.send(datagram)
            except OSError:
                self.asked["unsent"] += 1

    def drain(self) -> None:
        """Answer checks, count what else is asked."""
        assert self._srtp is not None
        while True:
            try:
                datagram = self._socket.recv(2048)
            except OSError:
                return
            if datagram[0] < 4:
                self._take_stun(datagram)
            elif datagram[0] >= 128 and (clear := self._srtp.unprotect_rtcp(datagram)) is not None:
                for report in rtcp.parse_compound(clear):
                    self.asked[type(report).__name__] += 1

    def send_unit(self, unit: Unit, loop: int) -> None:
        assert self._srtp is not None
        is_video = unit.is_video
        clock = VIDEO_CLOCK if is_video else AUDIO_CLOCK
        timestamp = (unit.timestamp + loop * DURATION_S * clock) & 0xFFFFFFFF
        ssrc, kind = self._ssrcs[is_video], VIDEO_TYPE if is_video else AUDIO_TYPE
        last = len(unit.payloads) - 1
        for i, payload in enumerate(unit.payloads):
            marked = 0x80 if is_video and i == last else 0
            number = self._numbers[is_video] & 0xFFFF
            self._numbers[is_video] += 1
            self._transport_number += 1
            extension = struct.pack(
                "!HHBHB", 0xBEDE, 1, TRANSPORT_CC_ID << 4 | 1, self._transport_number & 0xFFFF, 0
            )
            head = HEAD.pack(0x90, marked | kind, number, timestamp, ssrc)
            self._send([self._srtp.protect(head + extension + payload)])
            self._counts[is_video][0] += 1
            self._counts[is_video][1] += len(payload)

    def report(self, media_s: float) -> None:
        assert self._srtp is not None
        ntp = int((time.time() + NTP_EPOCH_S) * (1 << 32))
        for is_video, clock in ((True, VIDEO_CLOCK), (False, AUDIO_CLOCK)):
            packets, octets = self._counts[is_video]
            timestamp = int(media_s * clock) & 0xFFFFFFFF
            reports: list[rtcp.Report] = [
                rtcp.SenderReport(self._ssrcs[is_video], ntp, timestamp, packets, octets),
                rtcp.SourceDescription(((self._ssrcs[is_video], "bench"),)),
            ]
            self._send([self._srtp.protect_rtcp(rtcp.serialize_compound(reports))])


def run(publishers: list[Publisher], units: list[Unit], seconds: float) -> float:
    """Send for so long; returns how late the latest unit was, in seconds."""
    starts_s = [time.monotonic() + i * DURATION_S / len(publishers) / 7 for i in range(len(publishers))]
    places = [0] * len(publishers)
    checks_s = reports_s = 0.0
    latest_s, end_s = 0.0, time.monotonic() + seconds
    while (now_s := time.monotonic()) < end_s:
        for i, publisher in enumerate(publishers):
            publisher.drain()
            media_s = now_s - starts_s[i]
            while True:
                loop, at = divmod(places[i], len(units))
                due_s = units[at].due_s + loop * DURATION_S
                if due_s > media_s:
                    break
                latest_s = max(latest_s, media_s - due_s)
                publisher.send_unit(units[at], loop)
                places[i] += 1
            if now_s >= reports_s and media_s > 0:
                publisher.report(media_s)
            if now_s >= checks_s:
                publisher.check()
        reports_s = now_s + REPORT_INTERVAL_S if now_s >= reports_s else reports_s
        checks_s = now_s + CHECK_INTERVAL_S if now_s >= checks_s else checks_s
        time.sleep(TICK_S)
    return latest_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="with {} for the stream's name")
    parser.add_argument("--streams", type=int, default=5)
    parser.add_argument("--codec", choices=("h264", "vp8"), default="h264")
    parser.add_argument("--kbps", type=int, default=2500)
    parser.add_argument("--seconds", type=float, default=15.0)
    options = parser.parse_args()
    units = load_units(options.codec, options.kbps)
    asked: Counter[str] = Counter()
    identity = Identity()
    publishers = []
    for i in range(options.streams):
        publishers.append(Publisher(options.url.format(f"bench-{i}"), options.codec, identity, asked))
        publishers[-1].connect()
    print(json.dumps({"connected": len(publishers)}), flush=True)
    latest_s = run(publishers, units, options.seconds)
    print(json.dumps({"late_ms": round(latest_s * 1000), "asked": asked}), flush=True)


def _find(pattern: str, text: str) -> tuple[str, ...]:
    if (found := re.search(pattern, text)) is None:
        sys.exit(f"the answer has no {pattern!r}:\n{text}")
    return found.groups()


if __name__ == "__main__":
    main()
