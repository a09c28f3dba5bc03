"""The schema: what each table and column means, in which unit, and why it is there.

Three promises tie rows to files (`check` verifies them, see `aircheck.catalog.check`):

1. A segment row marked `complete` has a file at `path`, finished, of exactly `size_bytes`.
2. Every file below the record folders, but for the server's own (database, locks, notes of hooks), is exactly
   one of: growing (its row says so), awaiting finalize (its row still says growing, nobody writes),
   catalogued (a complete row has its path), a kept clip (its note says so; it needs no row), foreign (no note
   of ours in it).
3. A segment is in the catalogue before its file exists, and every file of ours holds a note (`segment_note`),
   so rows can be rebuilt from files.

The order that keeps them is the recorder's: growing row, file, finalize, sync, final name, complete row. Rows
are removed only after their file is.

Conventions: `_ns` is wall clock, nanoseconds since 1970-01-01 UTC, signed 64 bits; `_ms` is a duration or a
place on the stream's own timeline in milliseconds; `_bytes` are bytes. Text is never null: unknown is "".
Columns have the names of the facts' fields (`aircheck.facts`); a test keeps them so.

Comments here are the reference: `docs/reference/catalogue.md` is generated from them, and PostgreSQL shows
them.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

_Serial = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up only in a column of type INTEGER; it holds 64 bits all the same."""


def _text(name: str, comment: str) -> Column[str]:
    return Column(name, Text, nullable=False, comment=comment)


def _number(name: str, comment: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, comment=comment)


def _tracks(comment: str) -> Column[object]:
    return Column("tracks", JSON, nullable=False, comment=comment)


_TRACKS = (
    "JSON array of the fields of TrackFacts, those with default values left out. JSON because tracks are read"
    " and written only with their row and searched by nobody."
)

streams = Table(
    "streams",
    metadata,
    Column("id", Text, primary_key=True, comment="The media session (WCS `mediaSessionId`); given by us."),
    _text("name", "The stream's name as its publisher gave it."),
    _text("app", "Application (RTMP) the name lives in; names are unique among live streams of one."),
    _text("session_id", "The publisher's connection, as in every line of the log."),
    _text("protocol", "How the media came in: rtmp, rtsp, webrtc, …"),
    _text("remote_address", 'Address and port of the publisher as "host:port", IPv6 in brackets.'),
    _text("login", "Who was let in; empty without authentication."),
    _text("client", "What the publisher calls itself: its user agent or `flashVer`."),
    _number("published_ns", "Wall clock, ns: when the publication was accepted. Pages are ordered by it."),
    Column("ended_ns", BigInteger, comment="Wall clock, ns: when it ended. Null while it is live."),
    Column("end_reason", Text, comment="Why it ended (EndReason). Null while it is live."),
    _tracks(f"What was published, with counters. {_TRACKS}"),
    Index(None, "published_ns", "id"),
    Index(None, "name", "published_ns", "id"),
    comment="One row per publication of a named stream. Kept after the publisher has gone.",
)

recordings = Table(
    "recordings",
    metadata,
    Column("id", Text, primary_key=True, comment="Given by us, unique among all nodes."),
    _text("stream_name", "The stream that is recorded. Known even while the recording waits for its stream."),
    _text("app", "Application of the stream."),
    _text(
        "media_session_id",
        "`streams.id` of the (first) publication recorded; empty until there is one. No foreign key: a"
        " recording rebuilt from the disk has no stream row, and streams may be forgotten earlier.",
    ),
    _text("session_id", "Connection of that publication."),
    _text("login", "Who published; kept here for downloads by owner after the stream row is gone."),
    _text("requested_by", "Who asked: settings, publisher, or the interface the command came by."),
    _text("container", "mp4, webm, mkv, ts, flv."),
    _text("name_template", "Template of the file names, unexpanded: rotation and recovery expand it again."),
    _text("state", "RecordingState: armed, recording, paused, finalizing, complete, failed."),
    _number("start_ns", "Wall clock, ns: first packet, or when it was armed. Pages are ordered by it."),
    Column("end_ns", BigInteger, comment="Wall clock, ns: last packet. Null until the recording has ended."),
    Column("end_reason", Text, comment="Why it ended (EndReason). Null until it has, or when nobody knows."),
    _text("error", "What went wrong, for people. Empty when nothing did."),
    _number("segment_count", "Number of segments. This and the following sums spare lists a join."),
    _number("size_bytes", "Sum of the segments' sizes, bytes."),
    _number("duration_ms", "Sum of the segments' durations, ms; gaps between segments are not in it."),
    _number("gaps", "Number of gaps: media that was received or due, and is missing."),
    _number("dropped_packets", "Packets dropped in those gaps."),
    Index(None, "start_ns", "id"),
    Index(None, "stream_name", "start_ns", "id"),
    Index(None, "media_session_id"),
    Index(None, "state"),
    comment="One row per recording, from start to stop, however many files it has.",
)

segments = Table(
    "segments",
    metadata,
    Column("id", Text, primary_key=True, comment="Given by us, unique among all nodes; also in the note."),
    Column(
        "recording_id",
        Text,
        ForeignKey("recordings.id", ondelete="CASCADE"),
        nullable=False,
        comment="The recording this file is part of. Forgotten with it.",
    ),
    Column("index", Integer, nullable=False, comment="Place in the recording, from 1."),
    _text("state", "SegmentState: growing, finalizing, complete, failed. `complete` is promise 1."),
    _text("container", "Container of this very file."),
    _text("path", "Absolute path of the growing file; from `complete` on, of the final one."),
    _text("file_name", "Name for people and downloads, relative to the record folder, with `/`."),
    _number("start_ns", "Wall clock, ns, of the first packet."),
    _number("start_pts_ms", "Media time of the first packet on the stream's timeline, ms."),
    Column("end_ns", BigInteger, comment="Wall clock, ns, of the last packet. Null while growing."),
    _number(
        "duration_ms",
        "Media time from the first picture or sound to the end of the last, ms; 0 until known. FLV: from the "
        "first dts, some 80 ms more with B-frames.",
    ),
    _number("size_bytes", "Size of the file, bytes. Exact when complete; lags behind while growing."),
    Column(
        "is_recovered",
        Boolean,
        nullable=False,
        comment="Whether recovery, not the recorder, finished the file.",
    ),
    _text("error", "What went wrong with this file, for people. Empty when nothing did."),
    _tracks(f"What is in the file, with counters. {_TRACKS}"),
    Column(
        "gaps",
        JSON,
        nullable=False,
        comment="What is missing from the file, and why: JSON array of GapFacts, written like `tracks`.",
    ),
    # Not unique: a wrong index is a blemish, a row refused for it would be a lost file.
    Index(None, "recording_id", "index"),
    Index(None, "state"),
    Index(None, "file_name", "start_ns"),
    Index(None, "path"),
    comment="One row per file of a recording. Written before the file is created.",
)

events = Table(
    "events",
    metadata,
    Column("id", _Serial, primary_key=True, comment="Order of happening: goes up, may skip, never reused."),
    _text("kind", "EventKind, such as recording.completed."),
    _number("at_ns", "Wall clock, ns."),
    _text("stream_name", "Stream concerned, or empty."),
    _text("media_session_id", "Publication concerned, or empty. No foreign keys here: events outlive rows."),
    _text("recording_id", "Recording concerned, or empty."),
    _text("segment_id", "Segment concerned, or empty."),
    Column("facts", JSON, nullable=False, comment="JSON object: what else is worth telling of this kind."),
    Index(None, "recording_id", "id"),
    Index(None, "kind", "id"),
    comment="What happened, in order. Whoever reads along remembers the last id it has seen.",
    sqlite_autoincrement=True,
)
