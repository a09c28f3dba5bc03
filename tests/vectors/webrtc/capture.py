"""Captures the offers in this folder anew: `PYTHONPATH=tests python tests/vectors/webrtc/capture.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from helpers.firefox import Firefox

HERE = Path(__file__).parent

_OFFER = """
(async () => {
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  %s
  await pc.setLocalDescription();
  const { sdp } = pc.localDescription;
  pc.close();
  return sdp;
})()
"""
OFFERS = {
    "publish": """
        const options = { direction: "sendonly", streams: [media] };
        for (const one of media.getTracks()) pc.addTransceiver(one, options);
    """,
    "watch": """
        for (const one of ["audio", "video"]) pc.addTransceiver(one, { direction: "recvonly" });
    """,
    "simulcast": """
        const sendEncodings = [{ rid: "h" }, { rid: "l", scaleResolutionDownBy: 4 }];
        const options = { direction: "sendonly", streams: [media], sendEncodings };
        pc.addTransceiver(media.getVideoTracks()[0], options);
    """,
    "both_ways": """
        for (const one of media.getTracks()) pc.addTrack(one, media);
        pc.createDataChannel("chat");
    """,
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Firefox(Path(folder)) as firefox, firefox.tab() as tab:
        page = Path(folder, "page.html")
        page.write_text("<title>offers</title>")
        # Pages of other schemes have no camera.
        tab.open(page.as_uri())
        for name, steps in OFFERS.items():
            offer = tab.run(_OFFER % steps)
            (HERE / f"firefox_{name}.sdp").write_text(offer, newline="")


if __name__ == "__main__":
    main()
