"""Real media as RTP, and a browser that sends it: for tests of what receives it.

libavformat's RTP muxer takes the frames apart here, so that our payload formats meet another's.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
from helpers.impairment import Impairment

from aircheck.facts import EndReason
from aircheck.hub.registry import Registry
from aircheck.hub.stream import Stream
from aircheck.media.packet import Batch
from aircheck.media.track import Codec, Kind
from aircheck.webrtc.media import Format, MediaLine
from aircheck.webrtc.peers import TICK_S
from aircheck.webrtc.port import QUICK_INTERVAL_S
from aircheck.webrtc.publisher import Publisher
from aircheck.wire.rtp.packet import RtpPacket
from aircheck.wire.rtp.rtcp import (
    FullIntraRequest,
    Nack,
    PictureLossIndication,
    Report,
    SenderReport,
    SourceDescription,
    parse_compound,
    serialize_compound,
)
from aircheck.wire.rtp.send_times import ABS_SEND_TIME_URI, TRANSMISSION_OFFSET_URI
from aircheck.wire.rtp.transport_feedback import EXTENSION_URI

NTP_AT_START_S = 4_000_000_000
SEND_CLOCK_AT_START_S = 63.9
"""It begins anew at 64 s."""

BROWSER_STEP_S = 0.01
"""How often a browser looks at what came and what is due."""

TRANSPORT_WIDE_ID = 3
SEND_TIME_ID = 2
SENT_AFTER_ID = 14

ENCODERS = {
    Codec.VP8: ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "800k"],
    Codec.VP9: ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "800k"],
    Codec.H264: ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", "800k"],
    Codec.H265: ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0:bframes=0"],
    Codec.AV1: ["-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "pred-struct=1:lookahead=0"],
    Codec.OPUS: ["-c:a", "libopus", "-b:a", "64k"],
    Codec.PCMA: ["-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1"],
    Codec.PCMU: ["-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1"],
}
_WITH_PARAMETERS = ["-bsf:v", "dump_extra=freq=keyframe"]
"""Parameter sets before each key frame, as browsers send them."""

FORMATS = {
    Codec.VP8: Format(96, Codec.VP8, 90_000, rtx_payload_type=97),
    Codec.VP9: Format(98, Codec.VP9, 90_000, rtx_payload_type=99),
    Codec.H264: Format(102, Codec.H264, 90_000, rtx_payload_type=103),
    Codec.H265: Format(104, Codec.H265, 90_000, rtx_payload_type=105),
    Codec.AV1: Format(45, Codec.AV1, 90_000, rtx_payload_type=46),
    Codec.OPUS: Format(111, Codec.OPUS, 48_000, channels=2),
    Codec.PCMA: Format(8, Codec.PCMA, 8_000),
    Codec.PCMU: Format(0, Codec.PCMU, 8_000),
}


def make_clip(
    folder: Path, video: Codec | None, audio: Codec | None, *, seconds: int = 4, size: str = "320x180"
) -> Path:
    """A flash (upper half) and a beep of 0.1 s and a key frame at each full second; 30 frames a second."""
    path = folder / f"{video}-{audio}-{seconds}-{size}.nut"
    if path.exists():
        return path
    flash = "drawbox=color=white:h=ih*0.7:thickness=fill:enable='lt(mod(t,1),0.1)'"
    beep = "aevalsrc='if(lt(mod(t,1),0.1),0.25*cos(2*PI*1000*t),0)':sample_rate=48000"
    command = ["ffmpeg", "-v", "error", "-y"]
    options: list[str] = []
    if video is not None:
        command += [
            "-f",
            "lavfi",
            "-i",
            f"testsrc2=size={size}:rate=30,drawbox=color=black:h=ih*0.7:thickness=fill,{flash}",
        ]
        if video in (Codec.H264, Codec.H265):
            options += _WITH_PARAMETERS
        options += [*ENCODERS[video], "-g", "30", "-keyint_min", "30", "-pix_fmt", "yuv420p"]
    if audio is not None:
        command += ["-f", "lavfi", "-i", beep]
        options += ENCODERS[audio]
    subprocess.run([*command, "-t", str(seconds), *options, str(path)], check=True, timeout=120)
    return path


class _Pieces:
    """A file for libavformat that keeps each write apart: each is a packet."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.writes.append(bytes(data))
        return len(data)


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame of a clip with its RTP packets. `media_s` is its time in the clip."""

    media_s: float
    packets: tuple[RtpPacket, ...]


def frames_of_clip(path: Path, kind: Kind, ssrc: int, payload_type: int) -> list[SentFrame]:
    """What libavformat sends for a track of a clip, frame by frame."""
    frames: list[SentFrame] = []
    with av.open(str(path)) as source:
        stream = next(one for one in source.streams if one.type == kind)
        pieces = _Pieces()
        options = {"packetsize": "1200", "payload_type": str(payload_type), "ssrc": str(ssrc)}
        output = av.open(pieces, "w", format="rtp", container_options={**options, "strict": "experimental"})
        target = output.add_stream_from_template(stream, opaque=True)
        for packet in source.demux(stream):
            if not packet.size:
                continue
            media_s = float(packet.pts * packet.time_base)
            packet.stream = target
            output.mux(packet)
            sent, pieces.writes = pieces.writes, []
            rtp = tuple(RtpPacket.parse(data) for data in sent if not 200 <= data[1] <= 204)
            if rtp:
                frames.append(SentFrame(media_s, rtp))
        output.close()
    return frames


def renumbered(frames: list[SentFrame], *, ticks: int = 0) -> list[SentFrame]:
    """Frames with sequence numbers without a hole, over the end of 16 bits; so many ticks from one to the
    next, or with the timestamps that they have."""
    numbers = itertools.count(65_500)
    start = frames[0].packets[0].timestamp
    new: list[SentFrame] = []
    for at, frame in enumerate(frames):
        timestamp = start + at * ticks & 0xFFFFFFFF if ticks else frame.packets[0].timestamp
        new_packets = (
            replace(packet, sequence_number=next(numbers) & 0xFFFF, timestamp=timestamp)
            for packet in frame.packets
        )
        new.append(replace(frame, packets=tuple(new_packets)))
    return new


def repeated(frames: list[SentFrame], *, times: int, every_s: float, ticks: int) -> list[SentFrame]:
    """The frames again and again, at a steady pace and without a hole in their numbers."""
    again = renumbered(frames * times, ticks=ticks)
    return [replace(frame, media_s=at * every_s) for at, frame in enumerate(again)]


@dataclass
class SendTrack:
    """One track of the browser. `late_s` is how much later than its capture it is sent, `drift` the share by
    which its clock runs fast."""

    line: MediaLine
    frames: list[SentFrame]
    late_s: float = 0.0
    drift: float = 0.0
    reports_at_s: tuple[float, ...] = ()
    rtx_ssrc: int = 0
    history: dict[int, RtpPacket] = field(default_factory=dict)
    rtx_number: int = 100
    packets: int = 0

    @property
    def ssrc(self) -> int:
        return next(frame.packets[0].ssrc for frame in self.frames if frame.packets)

    @property
    def format(self) -> Format:
        return self.line.formats[0]

    def tell_captures(self) -> None:
        """From now on headers tell when pictures and sound were captured, as those of Chromium do."""
        told = {ABS_SEND_TIME_URI: SEND_TIME_ID}
        if self.line.kind is Kind.VIDEO:
            told[TRANSMISSION_OFFSET_URI] = SENT_AFTER_ID
        self.line = replace(self.line, extensions={**self.line.extensions, **told})

    def timestamp_at(self, media_s: float) -> int:
        """The clock of the track at a time of the clip."""
        first = self.frames[0]
        ticks = round((media_s - first.media_s) * self.format.clock_rate * (1 + self.drift))
        return first.packets[0].timestamp + ticks & 0xFFFFFFFF


def line(mid: str, *codecs: Codec, has_rtx: bool = True, has_twcc: bool = True) -> MediaLine:
    formats = tuple(
        FORMATS[codec] if has_rtx else replace(FORMATS[codec], rtx_payload_type=None) for codec in codecs
    )
    extensions: Mapping[str, int] = {EXTENSION_URI: TRANSPORT_WIDE_ID} if has_twcc else {}
    return MediaLine(mid, codecs[0].kind, formats, extensions)


def track_of_clip(path: Path, mid: str, codec: Codec, *, ssrc: int, **changes: object) -> SendTrack:
    frames = frames_of_clip(path, codec.kind, ssrc, FORMATS[codec].payload_type)
    reports = (0.5, *(1.0 + number for number in range(600)))
    if codec.kind is Kind.AUDIO:
        reports = tuple(2.5 + 5 * number for number in range(100))
    track = SendTrack(line(mid, codec), frames, reports_at_s=reports, rtx_ssrc=ssrc + 1)
    for name, value in changes.items():
        setattr(track, name, value)
    return track


class HandClock:
    """The clock of a test: it stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return int(1_800_000_000_000_000_000 + self.now_s * 1e9)


class Browser:
    """Sends tracks as a browser does: paced by time, with reports, and packets again when asked."""

    def __init__(self, tracks: Sequence[SendTrack], up: Impairment, down: Impairment) -> None:
        self.tracks = tracks
        self.up = up
        self.down = down
        self.received: list[Report] = []
        """All feedback that has come, in order."""
        self.resent = 0
        self._wide_number = itertools.count(65_000)
        self._schedule = sorted(
            (
                (frame.media_s + track.late_s + at * 0.0002, track, packet)
                for track in tracks
                for frame in track.frames
                for at, packet in enumerate(frame.packets)
            ),
            key=lambda one: one[0],
        )
        self._reports = sorted(
            ((at_s, track) for track in tracks for at_s in track.reports_at_s), key=lambda one: one[0]
        )
        self._start_s = 0.0

    @property
    def is_done(self) -> bool:
        return not self._schedule and self.up.is_empty

    @property
    def keyframe_requests(self) -> int:
        return sum(isinstance(one, PictureLossIndication | FullIntraRequest) for one in self.received)

    def start(self, now_s: float) -> None:
        self._start_s = now_s

    def step(self, now_s: float) -> None:
        """Send what is due, and answer what came."""
        for packet in self.down.receive(now_s):
            for report in parse_compound(packet):
                self.received.append(report)
                if isinstance(report, Nack):
                    self._answer(report, now_s)
        elapsed_s = now_s - self._start_s
        due = sum(1 for _ in itertools.takewhile(lambda one: one[0] <= elapsed_s, self._schedule))
        for _, track, packet in self._schedule[:due]:
            track.history[packet.sequence_number] = packet
            track.packets += 1
            self._send(track, packet, now_s)
        del self._schedule[:due]
        while self._reports and self._reports[0][0] <= elapsed_s:
            at_s, track = self._reports.pop(0)
            self._report(track, at_s, now_s)

    def _report(self, track: SendTrack, at_s: float, now_s: float) -> None:
        if at_s < track.frames[0].media_s:
            return
        ntp = int((NTP_AT_START_S + at_s) * (1 << 32))
        report = SenderReport(track.ssrc, ntp, track.timestamp_at(at_s), track.packets, 0)
        self.up.send(serialize_compound([report, SourceDescription(((track.ssrc, "test"),))]), now_s)

    def _answer(self, nack: Nack, now_s: float) -> None:
        track = next(one for one in self.tracks if one.ssrc == nack.media_ssrc)
        for number in nack.sequence_numbers:
            packet = track.history.get(number)
            if packet is None:
                continue
            self.resent += 1
            again_type = track.format.rtx_payload_type
            if again_type is not None:
                track.rtx_number = track.rtx_number + 1 & 0xFFFF
                packet = replace(
                    packet,
                    payload_type=again_type,
                    ssrc=track.rtx_ssrc,
                    sequence_number=track.rtx_number,
                    payload=number.to_bytes(2, "big") + packet.payload,
                )
            self._send(track, packet, now_s)

    def _send(self, track: SendTrack, packet: RtpPacket, now_s: float) -> None:
        extensions = track.line.extensions
        told = {}
        if EXTENSION_URI in extensions:
            told[TRANSPORT_WIDE_ID] = (next(self._wide_number) & 0xFFFF).to_bytes(2, "big")
        if ABS_SEND_TIME_URI in extensions:
            sent_s = (now_s - self._start_s + SEND_CLOCK_AT_START_S) % 64
            told[SEND_TIME_ID] = int(sent_s * (1 << 18)).to_bytes(3, "big")
        if TRANSMISSION_OFFSET_URI in extensions:
            told[SENT_AFTER_ID] = round(track.late_s * 90_000).to_bytes(3, "big")
        self.up.send(replace(packet, extensions=told).serialize(), now_s)


class Downlink:
    """A `MediaTransport` that is the way back to the browser."""

    def __init__(self, down: Impairment, clock: HandClock) -> None:
        self._down = down
        self._clock = clock

    def send_rtp(self, packets: Sequence[bytes]) -> None:
        raise AssertionError("a publisher is sent no media")

    def send_rtcp(self, packet: bytes) -> None:
        self._down.send(packet, self._clock.now_s)


class Batches:
    """A subscriber that keeps what it gets."""

    def __init__(self, *, is_live: bool = False) -> None:
        self.is_live = is_live
        self.batches: list[Batch] = []
        self.end_reason: EndReason | None = None

    def deliver(self, batch: Batch) -> None:
        self.batches.append(batch)

    def ended(self, reason: EndReason) -> None:
        self.end_reason = reason


class Publication:
    """A browser that publishes into a stream, over a path; time passes when `run` says so."""

    def __init__(
        self,
        stream: Stream,
        tracks: Sequence[SendTrack],
        *,
        up: Impairment | None = None,
        down: Impairment | None = None,
        drain_s: float = QUICK_INTERVAL_S,
        **options: float,
    ) -> None:
        self.clock = HandClock()
        self.registry = Registry()
        self.stream = stream
        self.registry.publish(stream)
        down = down or Impairment()
        self.browser = Browser(tracks, up or Impairment(), down)
        self.browser.start(self.clock.now_s)
        transport = Downlink(down, self.clock)
        lines = [track.line for track in tracks]
        self.publisher = Publisher(lines, transport, stream, self.registry, self.clock, **options)  # type: ignore[arg-type]
        self._drain_s = drain_s
        self._ticked_s = 0.0

    def step(self) -> None:
        """One drain of the port."""
        clock, publisher = self.clock, self.publisher
        for _ in range(round(self._drain_s / BROWSER_STEP_S)):
            clock.now_s += BROWSER_STEP_S
            self.browser.step(clock.now_s)
        media: list[bytes] = []
        for packet in self.browser.up.receive(clock.now_s):
            if 200 <= packet[1] <= 207:
                publisher.receive_rtcp(packet, clock.wall_ns(), clock.now_s)
            else:
                media.append(packet)
        if media:
            publisher.receive_rtp(media, clock.wall_ns(), clock.now_s)
        if clock.now_s - self._ticked_s >= TICK_S - BROWSER_STEP_S:
            self._ticked_s = clock.now_s
            publisher.tick(clock.now_s)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / self._drain_s)):
            self.step()

    def run_to_end(self, *, close: bool = True) -> None:
        """Until all is sent and what was lost had its time to come again; then the peer goes."""
        while not self.browser.is_done:
            self.step()
        self.run(1.0)
        if close:
            self.publisher.close(EndReason.UNPUBLISHED)


def durations_ms(batches: Iterable[Batch], kind: Kind) -> list[float]:
    """Steps from packet to packet of a kind, in ms."""
    times = [
        1000 * packet.pts / packet.track.timescale
        for batch in batches
        for packet in batch.packets
        if packet.track.kind is kind
    ]
    return [after - before for before, after in itertools.pairwise(times)]
