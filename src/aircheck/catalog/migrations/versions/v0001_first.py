"""The first schema: streams, recordings, segments, events.

A migration is history: it is not changed any more once a release has it. What the columns mean is said in
`aircheck.catalog.schema`, whose comments are put on the tables after the last migration.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Text,
)

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_streams()
    _create_recordings()
    _create_segments()
    _create_events()


def _create_streams() -> None:
    op.create_table(
        "streams",
        _text("id"),
        _text("name"),
        _text("app"),
        _text("session_id"),
        _text("protocol"),
        _text("remote_address"),
        _text("login"),
        _text("client"),
        _number("published_ns"),
        Column("ended_ns", BigInteger),
        Column("end_reason", Text),
        Column("tracks", JSON, nullable=False),
        PrimaryKeyConstraint("id", name="pk_streams"),
    )
    op.create_index("ix_streams_published_ns_id", "streams", ["published_ns", "id"])
    op.create_index("ix_streams_name_published_ns_id", "streams", ["name", "published_ns", "id"])


def _create_recordings() -> None:
    op.create_table(
        "recordings",
        _text("id"),
        _text("stream_name"),
        _text("app"),
        _text("media_session_id"),
        _text("session_id"),
        _text("login"),
        _text("requested_by"),
        _text("container"),
        _text("name_template"),
        _text("state"),
        _number("start_ns"),
        Column("end_ns", BigInteger),
        Column("end_reason", Text),
        _text("error"),
        _number("segment_count"),
        _number("size_bytes"),
        _number("duration_ms"),
        _number("gaps"),
        _number("dropped_packets"),
        PrimaryKeyConstraint("id", name="pk_recordings"),
    )
    op.create_index("ix_recordings_start_ns_id", "recordings", ["start_ns", "id"])
    op.create_index("ix_recordings_stream_name_start_ns_id", "recordings", ["stream_name", "start_ns", "id"])
    op.create_index("ix_recordings_media_session_id", "recordings", ["media_session_id"])
    op.create_index("ix_recordings_state", "recordings", ["state"])


def _create_segments() -> None:
    op.create_table(
        "segments",
        _text("id"),
        _text("recording_id"),
        Column("index", Integer, nullable=False),
        _text("state"),
        _text("container"),
        _text("path"),
        _text("file_name"),
        _number("start_ns"),
        _number("start_pts_ms"),
        Column("end_ns", BigInteger),
        _number("duration_ms"),
        _number("size_bytes"),
        Column("is_recovered", Boolean, nullable=False),
        _text("error"),
        Column("tracks", JSON, nullable=False),
        Column("gaps", JSON, nullable=False),
        PrimaryKeyConstraint("id", name="pk_segments"),
        ForeignKeyConstraint(
            ["recording_id"], ["recordings.id"], name="fk_segments_recording_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_segments_recording_id_index", "segments", ["recording_id", "index"])
    op.create_index("ix_segments_state", "segments", ["state"])
    op.create_index("ix_segments_file_name_start_ns", "segments", ["file_name", "start_ns"])
    op.create_index("ix_segments_path", "segments", ["path"])


def _create_events() -> None:
    op.create_table(
        "events",
        Column("id", BigInteger().with_variant(Integer, "sqlite"), nullable=False, autoincrement=True),
        _text("kind"),
        _number("at_ns"),
        _text("stream_name"),
        _text("media_session_id"),
        _text("recording_id"),
        _text("segment_id"),
        Column("facts", JSON, nullable=False),
        PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_recording_id_id", "events", ["recording_id", "id"])
    op.create_index("ix_events_kind_id", "events", ["kind", "id"])


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False)
