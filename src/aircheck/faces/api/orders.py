"""The JSON of requests that change something, and of what is armed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from aircheck.faces.api.models import Recording, rfc3339
from aircheck.facts import RecordingFacts
from aircheck.recording.armed import Armed as ArmedRequest
from aircheck.service.control import Target
from aircheck.service.options import (
    CONFLICTS,
    CONTAINERS,
    PRE_ROLL_MAX_MS,
    RECONNECT_MAX_MS,
    RecordingOptions,
)

_ANY_MAX = 1024
"""Characters; more than any name can have."""

# Described here, checked by the service, which alone knows what there is.
Container = Annotated[str, WithJsonSchema({"type": "string", "enum": [*CONTAINERS]})]
OnTakenName = Annotated[str, WithJsonSchema({"type": "string", "enum": [*CONFLICTS]})]


class StartRecording(BaseModel):
    """Which stream to record, and what shall be different from the settings `[record]`.

    The stream is given by `media_session_id`, or by `stream` and, if several applications have one of that
    name, `app`. What is null or left out is as the settings say.
    """

    model_config = ConfigDict(extra="forbid")

    media_session_id: str | None = Field(None, max_length=_ANY_MAX, description="One publication.")
    stream: str | None = Field(None, max_length=_ANY_MAX, description="The stream's name.")
    app: str | None = Field(None, max_length=_ANY_MAX, description="The stream's application.")
    wait: bool = Field(False, description="If the stream is not live: record it when it comes, once.")
    keep_alive: bool = Field(False, description="Record it each time it comes, until disarmed.")
    container: Container | None = None
    record_data: bool | None = Field(None, description="Keep data messages: `onMetaData`, cue points, text.")
    name: str | None = Field(
        None, max_length=_ANY_MAX, description="Template of the file names.", examples=["{streamName}"]
    )
    rotation: str | None = Field(
        None,
        max_length=32,
        description="`20`: a new file after 20 s; `20M`: after 20 MB; `disabled`: one file.",
    )
    rotation_aligned: bool | None = Field(None, description="Rotate at multiples of `rotation` on the clock.")
    rotation_index: bool | None = Field(None, description="Number the files of a rotated recording.")
    rotation_waits_for_keyframe: bool | None = Field(
        None, description="Off: files are cut on time, and begin with pictures that only joining shows."
    )
    starts_on_keyframe: bool | None = Field(
        None, description="Off: the sound begins at once, the picture with the next key frame."
    )
    pre_roll_ms: int | None = Field(
        None,
        ge=0,
        le=PRE_ROLL_MAX_MS,
        description="Begin that much in the past, as far as the setting `pre_roll_s` has it kept.",
    )
    max_duration_ms: int | None = Field(None, ge=0, description="End after so much media; 0: never.")
    reconnect_ms: int | None = Field(
        None, ge=0, le=RECONNECT_MAX_MS, description="Wait so long for a lost publisher to come back."
    )
    splits_at_reconnect: bool | None = Field(None, description="A new file then.")
    on_conflict: OnTakenName | None = Field(
        None, description="What to do about a file that has the name already."
    )

    @property
    def target(self) -> Target:
        return Target(self.media_session_id or "", self.stream or "", self.app)

    @property
    def options(self) -> RecordingOptions:
        return RecordingOptions(
            container=self.container,
            data=self.record_data,
            name=self.name,
            rotation=self.rotation,
            rotation_aligned=self.rotation_aligned,
            rotation_index=self.rotation_index,
            rotation_waits_for_keyframe=self.rotation_waits_for_keyframe,
            starts_on_keyframe=self.starts_on_keyframe,
            pre_roll_ms=self.pre_roll_ms,
            max_duration_ms=self.max_duration_ms,
            reconnect_ms=self.reconnect_ms,
            splits_at_reconnect=self.splits_at_reconnect,
            on_conflict=self.on_conflict,
        )


EXAMPLES: dict[str, Any] = {
    "now": {"summary": "Record a live stream as the settings say", "value": {"stream": "studio"}},
    "own options": {
        "summary": "Ten minutes at most, in files of 20 s under a name of its own",
        "value": {
            "stream": "studio",
            "app": "live",
            "name": "{streamName}/{time:%Y%m%d-%H%M%S}",
            "rotation": "20",
            "max_duration_ms": 600_000,
        },
    },
    "always": {
        "summary": "Record a stream now and each time it comes back",
        "value": {"stream": "studio", "keep_alive": True, "reconnect_ms": 10_000},
    },
}


class StartedRecording(Recording):
    """A recording that was begun."""

    armed_id: str | None = Field(description="With `keep_alive`: what was armed for later.")

    @classmethod
    def of_started(cls, recording: RecordingFacts, armed: ArmedRequest | None) -> StartedRecording:
        fields = Recording.of(recording).model_dump()
        return cls(**fields, armed_id=armed.id if armed is not None else None)


class Armed(BaseModel):
    """A recording that begins when its stream comes. A restart of the server forgets it."""

    id: str
    stream: str
    app: str | None = Field(description="Null: of any application.")
    keep_alive: bool = Field(description="Begins each time the stream comes, not only once.")
    requested_by: str
    armed_time_utc: str
    container: str
    name: str = Field(description="Template of the file names.")

    @classmethod
    def of(cls, armed: ArmedRequest) -> Armed:
        return cls(
            id=armed.id,
            stream=armed.name,
            app=armed.app,
            keep_alive=armed.keep_alive,
            requested_by=armed.requested_by,
            armed_time_utc=rfc3339(armed.armed_ns),
            container=armed.plan.container,
            name=armed.plan.template.text,
        )


class ArmedList(BaseModel):
    items: list[Armed]
