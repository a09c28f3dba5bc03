"""What a request may change of the recording that the settings plan, checked before anything begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from aircheck.containers.capability import Container
from aircheck.errors import ConfigError
from aircheck.recording.naming import NameTemplate, OnConflict
from aircheck.recording.plan import RecordingPlan
from aircheck.recording.rotation import RotationRule, parse_rotation
from aircheck.service.errors import InvalidRequest

CONTAINERS = tuple(container.value for container in Container)
"""Those that recordings are written in."""

CONFLICTS = tuple(policy.value for policy in OnConflict)
"""What can be done about a name that is taken."""

PRE_ROLL_MAX_MS = 300_000
RECONNECT_MAX_MS = 24 * 3_600_000
"""A recording that waits keeps its file unfinished and its disk's room reserved."""


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """Options of one recording, in the words of the settings `[record]`. None leaves what these say.

    `pre_roll_ms` reaches back as far as the setting of that name has the past kept. `max_duration_ms` 0
    means without end, `reconnect_ms` 0 not to wait.
    """

    container: str | None = None
    data: bool | None = None
    name: str | None = None
    rotation: str | None = None
    rotation_aligned: bool | None = None
    rotation_index: bool | None = None
    rotation_waits_for_keyframe: bool | None = None
    starts_on_keyframe: bool | None = None
    pre_roll_ms: int | None = None
    max_duration_ms: int | None = None
    reconnect_ms: int | None = None
    splits_at_reconnect: bool | None = None
    on_conflict: str | None = None

    def laid_over(self, plan: RecordingPlan) -> RecordingPlan:
        """The plan with these options in place of its own. Raises `InvalidRequest` naming the option."""
        changes: dict[str, Any] = {}
        if self.container is not None:
            changes["container"] = _one_of("container", self.container, CONTAINERS)
            changes["preferred"] = ()
        if self.data is not None:
            changes["keeps_data"] = self.data
        if self.name is not None:
            changes["template"] = _template(self.name, plan.template)
        if self.starts_on_keyframe is not None:
            changes["starts_on_keyframe"] = self.starts_on_keyframe
        if (self.rotation, self.rotation_aligned, self.rotation_waits_for_keyframe) != (None, None, None):
            changes["rotation"] = self._rotation(plan.rotation)
        if self.rotation_index is not None:
            changes["has_rotation_index"] = self.rotation_index
        if self.pre_roll_ms is not None:
            _check_range("pre_roll_ms", self.pre_roll_ms, PRE_ROLL_MAX_MS)
            changes["pre_roll_ms"] = self.pre_roll_ms
        if self.max_duration_ms is not None:
            _check_range("max_duration_ms", self.max_duration_ms)
            changes["max_duration_ms"] = self.max_duration_ms or None
        if self.reconnect_ms is not None:
            _check_range("reconnect_ms", self.reconnect_ms, RECONNECT_MAX_MS)
            changes["reconnect_s"] = self.reconnect_ms / 1000
        if self.splits_at_reconnect is not None:
            changes["splits_at_reconnect"] = self.splits_at_reconnect
        if self.on_conflict is not None:
            changes["on_conflict"] = OnConflict(_one_of("on_conflict", self.on_conflict, CONFLICTS))
        return replace(plan, **changes)

    def _rotation(self, planned: RotationRule) -> RotationRule:
        """The zone stays as planned; so does the alignment, if there is a duration to align."""
        length = planned if self.rotation is None else _parsed_rotation(self.rotation)
        if self.rotation_aligned and length.duration_ms is None:
            raise InvalidRequest(
                "rotation_aligned without a rotation by time",
                remedy='give a rotation in seconds with it, such as "3600"',
            )
        is_aligned = planned.is_aligned if self.rotation_aligned is None else self.rotation_aligned
        waits = self.rotation_waits_for_keyframe
        return replace(
            planned,
            duration_ms=length.duration_ms,
            size_bytes=length.size_bytes,
            is_aligned=is_aligned and length.duration_ms is not None,
            waits_for_keyframe=planned.waits_for_keyframe if waits is None else waits,
        )


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InvalidRequest(f'{option} "{value}" is not known', remedy=f"known: {', '.join(known)}")
    return value


def _template(text: str, planned: NameTemplate) -> NameTemplate:
    try:
        return NameTemplate.parse(
            text, encoding=planned.encoding, excluded_characters=planned.excluded_characters
        )
    except ConfigError as error:
        raise InvalidRequest(f"name: {error.message}", remedy=error.remedy) from error


def _parsed_rotation(text: str) -> RotationRule:
    try:
        return parse_rotation(text)
    except ValueError as error:
        message, _, remedy = str(error).partition("; ")
        raise InvalidRequest(f"rotation: {message}", remedy=remedy) from error


def _check_range(option: str, value: int, maximum: int | None = None) -> None:
    if value < 0 or (maximum is not None and value > maximum):
        limits = "0 or more" if maximum is None else f"0 to {maximum}"
        raise InvalidRequest(f"{option} is {value}", remedy=f"give milliseconds, {limits}")
