"""Marks for tests that need a program, a plugin or a module of the system.

`@requires("ffmpeg")` skips where the tool is missing and names the Debian package that brings it:

    @requires("ffmpeg", "nginx-rtmp")
    def test_ffmpeg_publishes_through_nginx() -> None: ...

A test file may also set `pytestmark = requires("chromium")`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

# Daemons live in sbin, which an ordinary user's PATH leaves out.
_SEARCH_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
_NGINX_MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/share/nginx/modules"))


class Tool(NamedTuple):
    """What must be there and which Debian packages bring it."""

    packages: str
    is_present: Callable[[], bool]


def find_program(name: str) -> str | None:
    """The absolute path of a program, looked for in PATH and in the sbin folders; None when missing."""
    return shutil.which(name) or shutil.which(name, path=_SEARCH_PATH)


def firefox_program() -> str | None:
    """The release with long support, as Debian has it, or any other."""
    return find_program("firefox-esr") or find_program("firefox")


def nginx_rtmp_module() -> Path | None:
    """The dynamic module that nginx must load to speak RTMP; None when missing."""
    candidates = (folder / "ngx_rtmp_module.so" for folder in _NGINX_MODULES)
    return next((path for path in candidates if path.exists()), None)


@cache
def has_gstreamer_element(name: str) -> bool:
    """Whether GStreamer knows an element such as `rtmp2sink`."""
    inspect = find_program("gst-inspect-1.0")
    if inspect is None:
        return False
    command = [inspect, "--exists", name]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def _program(name: str) -> Callable[[], bool]:
    return lambda: find_program(name) is not None


def _has_nginx_rtmp() -> bool:
    return find_program("nginx") is not None and nginx_rtmp_module() is not None


SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's, which has the bindings that Debian packages."""


_FIND_WEBRTCBIN = """
import gi
for name in ("Gst", "GstSdp", "GstWebRTC"):
    gi.require_version(name, "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC
Gst.init(None)
assert all(map(Gst.ElementFactory.find, ("webrtcbin", "nicesrc")))
"""


@cache
def _has_webrtcbin() -> bool:
    if not Path(SYSTEM_PYTHON).exists():
        return False
    command = [SYSTEM_PYTHON, "-c", _FIND_WEBRTCBIN]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


TOOLS: Mapping[str, Tool] = {
    "openssl": Tool("openssl", _program("openssl")),
    "ffmpeg": Tool("ffmpeg", _program("ffmpeg")),
    "ffprobe": Tool("ffmpeg", _program("ffprobe")),
    "gstreamer": Tool(
        "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
        "gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav",
        lambda: all(
            map(has_gstreamer_element, ("videotestsrc", "flvmux", "rtmp2sink", "x264enc", "avenc_aac"))
        ),
    ),
    "webrtcbin": Tool("python3-gi gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice", _has_webrtcbin),
    "nginx-rtmp": Tool("nginx-light libnginx-mod-rtmp", _has_nginx_rtmp),
    "chromium": Tool("chromium", _program("chromium")),
    "firefox": Tool("firefox-esr", lambda: firefox_program() is not None),
    "rtmpdump": Tool("rtmpdump", _program("rtmpdump")),
    "xvfb": Tool("xvfb", _program("Xvfb")),
    "obs": Tool("obs-studio", _program("obs")),
}


def requires(*names: str) -> pytest.MarkDecorator:
    """A mark that skips a test where a tool is missing; the reason names the packages to install."""
    missing = [TOOLS[name].packages for name in names if not TOOLS[name].is_present()]
    return pytest.mark.skipif(bool(missing), reason=f"needs: apt-get install {' '.join(missing)}")


def missing_packages() -> list[str]:
    """Debian packages that would let every test run."""
    missing = [tool.packages for tool in TOOLS.values() if not tool.is_present()]
    return list(dict.fromkeys(" ".join(missing).split()))


if __name__ == "__main__":
    sys.stdout.write(" ".join(missing_packages()))
