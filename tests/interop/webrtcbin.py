"""Publishes or watches by GStreamer's webrtcbin; run by test_webrtcbin.py with the system's Python.

    webrtcbin.py publish URL CODEC      until a line comes in
    webrtcbin.py watch URL CODEC COUNT  until so many buffers of each kind are decoded; prints their caps

Candidates are not gathered before the offer goes out, and never sent.
"""

import sys
import threading
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

VIDEO = "videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=30/1"
AUDIO = "audiotestsrc is-live=true wave=ticks ! audioconvert ! opusenc ! rtpopuspay pt=111"
ENCODERS = {
    "H264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 bitrate=500 "
    "! video/x-h264,profile=constrained-baseline "
    "! rtph264pay pt=96 config-interval=-1 aggregate-mode=zero-latency",
    "VP8": "vp8enc deadline=1 keyframe-max-dist=60 target-bitrate=500000 "
    "! rtpvp8pay pt=96 picture-id-mode=15-bit",
}
OFFERED = (
    "application/x-rtp,media=video,encoding-name={0},clock-rate=90000,payload=96,packetization-mode=(string)1",
    "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,payload=111,encoding-params=(string)2",
)


class Client:
    def __init__(self, description, url):
        self.url = url
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.Pipeline.new()
        elements = f"webrtcbin name=w bundle-policy=max-bundle {description}"
        self.bin = Gst.parse_bin_from_description(elements, False)
        self.pipeline.add(self.bin)
        self.webrtc = self.pipeline.get_by_name("w")
        self.session = ""

    def run(self):
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self._failed)
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        if self.session:
            urllib.request.urlopen(urllib.request.Request(self.session, method="DELETE"), timeout=10).read()
        self.pipeline.set_state(Gst.State.NULL)

    def stop(self):
        GLib.idle_add(self.loop.quit)

    def negotiate(self, *_):
        self.webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self._offered))

    def _offered(self, promise):
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.webrtc.emit("set-local-description", offer, Gst.Promise.new())
        threading.Thread(target=self._exchange, args=(offer.sdp.as_text(),), daemon=True).start()

    def _exchange(self, offer):
        request = urllib.request.Request(self.url, offer.encode(), {"content-type": "application/sdp"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            self.session = urllib.parse.urljoin(self.url, answer.headers["location"])
            _, sdp = GstSdp.SDPMessage.new_from_text(answer.read().decode())
        kind = GstWebRTC.WebRTCSDPType.ANSWER
        description = GstWebRTC.WebRTCSessionDescription.new(kind, sdp)
        self.webrtc.emit("set-remote-description", description, Gst.Promise.new())

    def _failed(self, _bus, message):
        print(message.parse_error(), file=sys.stderr)
        self.loop.quit()


def publish(url, encoder):
    client = Client(f"{VIDEO} ! {ENCODERS[encoder]} ! queue ! w. {AUDIO} ! queue ! w.", url)
    for number in range(2):
        client.webrtc.emit("get-transceiver", number).set_property(
            "direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY
        )
    client.webrtc.connect("on-negotiation-needed", client.negotiate)
    threading.Thread(target=lambda: (sys.stdin.readline(), client.stop()), daemon=True).start()
    client.run()


def watch(url, encoding, buffers):
    client = Client("latency=100", url)
    seen = {}

    def added(_webrtc, pad):
        if pad.direction == Gst.PadDirection.SRC:
            decoder = Gst.ElementFactory.make("decodebin")
            decoder.connect("pad-added", decoded)
            client.bin.add(decoder)
            decoder.sync_state_with_parent()
            pad.link(decoder.get_static_pad("sink"))

    def decoded(_decoder, pad):
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("signal-handoffs", True)
        sink.connect("handoff", counted)
        client.bin.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def counted(_sink, _buffer, pad):
        caps = pad.get_current_caps().to_string()
        kind = caps.partition("/")[0]
        if kind not in seen:
            print(caps, flush=True)
        seen[kind] = seen.get(kind, 0) + 1
        if len(seen) == 2 and min(seen.values()) >= buffers:
            client.stop()

    client.webrtc.connect("pad-added", added)
    for caps in OFFERED:
        client.webrtc.emit(
            "add-transceiver",
            GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY,
            Gst.Caps.from_string(caps.format(encoding)),
        )
    GLib.idle_add(client.negotiate)
    client.run()
    print(*(f"{min(count, buffers)} {kind}" for kind, count in sorted(seen.items())))


if __name__ == "__main__":
    Gst.init(None)
    if sys.argv[1] == "publish":
        publish(*sys.argv[2:])
    else:
        watch(sys.argv[2], sys.argv[3], int(sys.argv[4]))
