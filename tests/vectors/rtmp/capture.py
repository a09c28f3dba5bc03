"""Captures the vectors in this folder anew: `python tests/vectors/rtmp/capture.py [name …]`.

Publishers and players are pointed at a server made of `ServerConnection`; what they send is kept, byte for
byte. For `nginx_play` it is the other way round: a `ClientConnection` plays from nginx-rtmp.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aircheck.wire.rtmp import events
from aircheck.wire.rtmp.client import ClientConnection
from aircheck.wire.rtmp.connection import ServerConnection
from aircheck.wire.rtmp.messages import MediaMessage

HERE = Path(__file__).parent
READ_BYTES = 65_536

_FFMPEG_SOURCE = (
    "ffmpeg -v error -re -f lavfi -i testsrc=s=160x120:r=15 -f lavfi -i sine=r=44100 -t 1.5 "
    "-c:v libx264 -preset veryfast -b:v 100k -bf 2 -g 15 -c:a aac -b:a 32k -f flv "
)
_GST_MUXER = "gst-launch-1.0 -q flvmux name=m streamable=true ! "
_GST_SOURCE = (
    "videotestsrc num-buffers=22 ! video/x-raw,width=160,height=120,framerate=15/1 ! "
    "x264enc bitrate=100 key-int-max=15 ! m. "
    "audiotestsrc num-buffers=64 ! audio/x-raw,rate=44100 ! avenc_aac bitrate=32000 ! m."
)

PUBLISHERS = {
    "ffmpeg_publish": _FFMPEG_SOURCE + "rtmp://127.0.0.1:{port}/live/room/cam?token=abc",
    "gst_rtmpsink_publish": (
        _GST_MUXER + "rtmpsink location=rtmp://127.0.0.1:{port}/live/cam " + _GST_SOURCE
    ),
    "gst_rtmp2sink_publish": (
        _GST_MUXER + "rtmp2sink location=rtmp://127.0.0.1:{port}/live/cam " + _GST_SOURCE
    ),
}
PLAYERS = {
    "rtmpdump_play": "rtmpdump -q -v -r rtmp://127.0.0.1:{port}/live/cam -B 1 -o /dev/null",
    "ffmpeg_play": "ffmpeg -v error -i rtmp://127.0.0.1:{port}/live/room/cam?token=abc -t 1 -f null -",
}

_NGINX_CONFIG = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
events {{ worker_connections 64; }}
rtmp {{ access_log off; server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}
"""


def media_of(name: str) -> list[MediaMessage]:
    """The media in a vector of a publisher."""
    connection = ServerConnection()
    connection.receive((HERE / f"{name}.bin").read_bytes(), 0.0)
    return [
        message
        for event in connection.events()
        if isinstance(event, events.MediaReceived)
        for message in event.messages
    ]


def serve(peer: socket.socket, media: list[MediaMessage]) -> bytes:
    """Accept whatever the peer asks for, send `media` to players; return what the peer has sent."""
    connection, captured, deadline_s = ServerConnection(), bytearray(), time.monotonic() + 10
    peer.settimeout(0.2)
    is_served = False
    while time.monotonic() < deadline_s:
        try:
            data = peer.recv(READ_BYTES)
        except TimeoutError:
            if is_served:
                break
            continue
        except ConnectionResetError:
            data = b""
        captured += data
        connection.receive(data, time.monotonic())
        for event in connection.events():
            match event:
                case events.ConnectRequested():
                    connection.accept_connect(event)
                case events.PublishRequested():
                    connection.accept_publish(event)
                case events.PlayRequested():
                    connection.accept_play(event)
                    connection.send_media_batch(event.stream_id, media)
                    connection.end_play(event.stream_id)
                    is_served = True
        if not data:
            break
        with contextlib.suppress(ConnectionError):  # gone already; what it sent is still to be read
            peer.sendall(b"".join(connection.data_to_send()))
    return bytes(captured)


def capture_peer(name: str, command: str, media: list[MediaMessage]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        words = command.format(port=listener.getsockname()[1]).split()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        peer, _ = listener.accept()
        with peer:
            captured = serve(peer, media)
        process.terminate()
        process.wait(10)
    keep(name, captured)


def capture_nginx_play() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
        reserved.close()
        config = Path(folder) / "nginx.conf"
        config.write_text(_NGINX_CONFIG.format(folder=folder, port=port))
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", str(config), "-e", f"{folder}/error.log"])
        time.sleep(0.5)
        words = (_FFMPEG_SOURCE.replace("-t 1.5", "-t 4") + f"rtmp://127.0.0.1:{port}/live/cam").split()
        publisher = subprocess.Popen(words)
        time.sleep(1.5)
        keep("nginx_play", _play(port))
        publisher.wait(20)
        nginx.terminate()
        nginx.wait(10)


def _play(port: int) -> bytes:
    """Play for as long as the publisher goes on; return what the server has sent."""
    client, captured = ClientConnection(), bytearray()
    client.connect("live", f"rtmp://127.0.0.1:{port}/live")
    with socket.create_connection(("127.0.0.1", port)) as server:
        server.settimeout(5)
        while True:
            server.sendall(b"".join(client.data_to_send()))
            data = server.recv(READ_BYTES)
            captured += data
            client.receive(data, time.monotonic())
            for event in client.events():
                match event:
                    case events.Connected():
                        client.play("cam")
                    case events.StreamClosed() | events.ConnectionEnded():
                        return bytes(captured)


def keep(name: str, data: bytes) -> None:
    (HERE / f"{name}.bin").write_bytes(data)
    print(f"{name}.bin: {len(data)} bytes")


def main(names: list[str]) -> None:
    for name, command in PUBLISHERS.items():
        if not names or name in names:
            capture_peer(name, command, [])
    for name, command in PLAYERS.items():
        if not names or name in names:
            capture_peer(name, command, media_of("ffmpeg_publish"))
    if not names or "nginx_play" in names:
        capture_nginx_play()


if __name__ == "__main__":
    main(sys.argv[1:])
