"""What listens where, and how to publish: the first thing a person sees."""

from __future__ import annotations

from pathlib import Path

from aircheck.app.node import Node
from aircheck.app.urls import host_of, url_of


def greeting(node: Node) -> list[str]:
    """Lines for a terminal."""
    record_dir = Path(node.settings.record.dir).absolute()
    lines = ["Aircheck is up."]
    if node.rtmp_address is not None:
        host, port = node.rtmp_address
        lines += [
            f"  publish     rtmp://{host_of(host)}:{port}/live/NAME",
            f"              ffmpeg -re -i FILE -c copy -f flv rtmp://{host_of(host)}:{port}/live/NAME",
            f"              OBS: server rtmp://{host_of(host)}:{port}/live, stream key NAME",
        ]
    if node.rtmps_address is not None:
        host, port = node.rtmps_address
        lines.append(f"  publish     rtmps://{host_of(host)}:{port}/live/NAME")
    if node.http_address is not None:
        host, port = node.http_address
        lines.append(f"  look        http://{host_of(host)}:{port}/   API: /docs   metrics: /metrics")
    if node.https_address is not None:
        lines.append(f"              {url_of('https', node.https_address)}/")
    if node.webrtc_address is not None:
        host, port = node.webrtc_address
        lines.append(
            f"  WebRTC      page /record/, WHIP /whip/NAME; media by {host_of(host)}:{port}, UDP and TCP"
        )
        lines.extend(f"  WebSDK      {url}" for url in node.websdk_urls)
    return [*lines, f"  recordings  {record_dir}"]
