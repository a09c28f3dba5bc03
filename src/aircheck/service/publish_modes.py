"""Recordings that publishers ask for by how they publish: `publish(name, type)` of Flash Media Server.

    live            nothing is asked for: the settings decide
    record          a recording; an older file of the name is replaced
    append          a recording; an older file of the name goes on, its time from where it ended
    appendWithGap   the same, with the time between left open

The file has the name that the plan's template gives, and no number. It is an MP4 where the stream's name
begins with `mp4:`, else FLV.
"""

from __future__ import annotations

import errno
import logging
from dataclasses import replace

from aircheck.containers.capability import Container
from aircheck.facts import RecordingFacts, RecordingState
from aircheck.hub.stream import Stream
from aircheck.recording.naming import OnConflict
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.recorder import Recorder
from aircheck.recording.recording import Recording
from aircheck.recording.rotation import NEVER

_log = logging.getLogger(__name__)

BY_PUBLISHER = "publisher"
"""Who asked for a recording that came with a publish mode."""

_MODES = {
    "record": OnConflict.OVERWRITE,
    "append": OnConflict.APPEND,
    "appendwithgap": OnConflict.APPEND_WITH_GAP,
}
_REFUSED = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


def plan_of_mode(stream: Stream, plan: RecordingPlan) -> RecordingPlan | None:
    """What the publisher asks for, laid over the settings' plan; None when it asks for nothing."""
    on_conflict = _MODES.get(stream.publish_type.lower())
    if on_conflict is None:
        return None
    is_mp4 = stream.name.lower().startswith("mp4:")
    return replace(
        plan,
        container=(Container.MP4 if is_mp4 else Container.FLV).value,
        preferred=(),
        rotation=NEVER,
        on_conflict=on_conflict,
    )


async def accompany(stream: Stream, recording: Recording, recorder: Recorder) -> None:
    """Tell a publisher of the recording that it asked for: that it began, and how it ended."""
    _tell(stream, "status", "NetStream.Record.Start", f"recording {recording.facts.id} has begun")
    ended = await recorder.until_done(recording)
    if ended.state is RecordingState.COMPLETE:
        _tell(stream, "status", "NetStream.Record.Stop", _told(recording, ended))
    else:
        _tell(stream, "error", "NetStream.Record.Failed", ended.error or "there was nothing to record")


async def tell_refused(stream: Stream, error: Exception, *, is_asked_for: bool) -> None:
    """Tell a publisher that it is not recorded: an error if it asked for that, else it may as well go on."""
    is_refused = isinstance(error, OSError) and error.errno in _REFUSED
    code = "NetStream.Record.NoAccess" if is_refused else "NetStream.Record.Failed"
    _tell(stream, "error" if is_asked_for else "warning", code, str(error))


def _told(recording: Recording, ended: RecordingFacts) -> str:
    """Which file there is, and what became of the wish if that is another one."""
    files = ", ".join(segment.file_name for segment in recording.completed)
    wanted = recording.plan.container
    nearest = f"; {wanted} cannot hold these codecs" if ended.container != wanted else ""
    return f"recorded to {files}{nearest}"


def _tell(stream: Stream, level: str, code: str, description: str) -> None:
    _log.info("publisher told stream=%s code=%s description=%s", stream.name, code, description)
    if stream.on_status is not None:
        stream.on_status(level, code, description)
