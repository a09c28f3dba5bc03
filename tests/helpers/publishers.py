"""Real encoders that publish to a server: FFmpeg, GStreamer's two RTMP sinks, OBS Studio."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from helpers.programs import Program, run_to_end, running, wait_until

_PUBLISH_TIMEOUT_S = 60


def ffmpeg_command(clip: Path, url: str, *, is_paced: bool = False, loops: int = 0) -> list[str]:
    """FFmpeg copying a clip to a URL, as fast as the server reads or (`is_paced`) in real time."""
    pace = ["-re"] if is_paced else []
    repeat = ["-stream_loop", str(loops)] if loops else []
    # Without this the FLV muxer tries to seek back and complains about a duration that it cannot write.
    flags = ["-flvflags", "no_duration_filesize"]
    read = ["ffmpeg", "-nostdin", "-v", "warning", *pace, *repeat, "-i", str(clip)]
    return [*read, "-c", "copy", *flags, "-f", "flv", url]


def publish_with_ffmpeg(clip: Path, url: str, log: Path, *, is_paced: bool = False) -> None:
    """Publish a whole clip and wait for FFmpeg's good end."""
    run_to_end(ffmpeg_command(clip, url, is_paced=is_paced), log, _PUBLISH_TIMEOUT_S)


@contextmanager
def ffmpeg_publishing(clip: Path, url: str, log: Path) -> Iterator[Program]:
    """FFmpeg publishing a clip again and again in real time, until the block ends."""
    with running(ffmpeg_command(clip, url, is_paced=True, loops=-1), log) as program:
        yield program
        program.stop(signal.SIGINT)


def gstreamer_command(clip: Path, url: str, sink: str, *, has_video: bool, has_audio: bool) -> list[str]:
    """GStreamer remuxing a clip through `flvmux` into `rtmpsink` or `rtmp2sink`."""
    pipeline = (
        f"flvmux name=mux streamable=true ! {sink} location={url} filesrc location={clip} ! flvdemux name=in"
    )
    if has_video:
        pipeline += " in.video ! queue ! h264parse ! mux."
    if has_audio:
        pipeline += " in.audio ! queue ! aacparse ! mux."
    return ["gst-launch-1.0", "-e", "-q", *pipeline.split()]


def publish_with_gstreamer(
    clip: Path, url: str, sink: str, log: Path, *, has_video: bool = True, has_audio: bool = True
) -> None:
    command = gstreamer_command(clip, url, sink, has_video=has_video, has_audio=has_audio)
    run_to_end(command, log, _PUBLISH_TIMEOUT_S)


class ObsStudio:
    """OBS Studio on a screen of its own, streaming a still picture and silence."""

    def __init__(self, folder: Path, server: str, key: str, *, video_kbps: int = 600) -> None:
        """`server` is such as rtmp://127.0.0.1:1935/live; profile, scene and home are made in `folder`."""
        self._folder = folder
        self._home = folder / "home"
        self._configure(server, key, video_kbps)

    @contextmanager
    def streaming(self) -> Iterator[Program]:
        """OBS for the time of the block; asked to stop the stream and end at its end."""
        options = (
            "--startstreaming --minimize-to-tray --multi --disable-updater --disable-missing-files-check"
        )
        with self._screen() as display:
            env = self._environment(display)
            with running(["obs", *options.split()], self._folder / "obs.log", env) as program:
                yield program
                program.stop(signal.SIGINT)

    @contextmanager
    def _screen(self) -> Iterator[str]:
        """An X server that picks a free display number itself."""
        command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"]
        with running(command, self._folder / "xvfb.log") as program:
            number = wait_until("a display number from Xvfb", lambda: self._display_number(program))
            yield f":{number}"

    @staticmethod
    def _display_number(program: Program) -> str | None:
        if not program.is_running:
            raise program.error("ended at once")
        numbers = [line for line in program.output.splitlines() if line.isdigit()]
        return numbers[-1] if numbers else None

    def _environment(self, display: str) -> Mapping[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "DISPLAY": display,
            "HOME": str(self._home),
            "XDG_CONFIG_HOME": str(self._home / ".config"),
            "XDG_RUNTIME_DIR": str(self._home),
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "LANG": "C.UTF-8",
        }

    def _configure(self, server: str, key: str, video_kbps: int) -> None:
        """Files that stand for the first-run wizard: without a scene collection OBS waits in a dialogue."""
        config = self._home / ".config" / "obs-studio"
        profile, scenes = config / "basic" / "profiles" / "Untitled", config / "basic" / "scenes"
        for folder in (profile, scenes):
            folder.mkdir(parents=True)
        service = {"type": "rtmp_custom", "settings": {"server": server, "key": key, "use_auth": False}}
        (config / "global.ini").write_text(_OBS_GLOBAL)
        (profile / "basic.ini").write_text(_OBS_PROFILE.format(video_kbps=video_kbps))
        (profile / "service.json").write_text(json.dumps(service))
        (scenes / "Untitled.json").write_text(json.dumps(_OBS_SCENES))


_OBS_GLOBAL = """\
[General]
FirstRun=true
LastVersion=503316482
InfoIncrement=99
EnableAutoUpdates=false
ConfirmOnExit=false

[Basic]
Profile=Untitled
ProfileDir=Untitled
SceneCollection=Untitled
SceneCollectionFile=Untitled

[OBSWebSocket]
FirstLoad=false
ServerEnabled=false

[BasicWindow]
WarnBeforeStartingStream=false
WarnBeforeStoppingStream=false
SysTrayEnabled=false
"""

_OBS_PROFILE = """\
[General]
Name=Untitled

[SimpleOutput]
VBitrate={video_kbps}
ABitrate=96
StreamEncoder=x264
UseAdvanced=true
Preset=ultrafast
x264Settings=bframes=2 keyint=30

[Video]
BaseCX=640
BaseCY=360
OutputCX=640
OutputCY=360
FPSCommon=30

[Audio]
SampleRate=48000
ChannelSetup=Stereo
"""

_OBS_SCENES = {
    "name": "Untitled",
    "current_scene": "Scene",
    "current_program_scene": "Scene",
    "scene_order": [{"name": "Scene"}],
    "sources": [
        {
            "id": "color_source",
            "versioned_id": "color_source_v3",
            "name": "Colour",
            "settings": {"color": 0xFF2060E0, "width": 640, "height": 360},
        },
        {
            "id": "scene",
            "name": "Scene",
            "settings": {"id_counter": 1, "items": [{"name": "Colour", "id": 1, "visible": True}]},
        },
    ],
}
