"""Kinds of values that several tables have, and what all tables share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic_settings import NoDecode

from aircheck.errors import ConfigError
from aircheck.recording.naming import NameTemplate
from aircheck.recording.rotation import RotationRule, format_rotation, parse_rotation
from aircheck.recording.zones import Zone, format_zone, parse_zone
from aircheck.settings.values import Listen


def _to_listen(value: Any) -> Any:
    return Listen.parse(value) if isinstance(value, str) else value


def _to_listen_or_off(value: Any) -> Any:
    return None if value == "" else _to_listen(value)


def _to_rotation(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return parse_rotation(str(value)) if isinstance(value, str) or is_number else value


def _to_zone(value: Any) -> Any:
    return parse_zone(value) if isinstance(value, str) else value


def _to_path_or_none(value: Any) -> Any:
    return None if value == "" else value


def _to_template(value: Any) -> Any:
    if isinstance(value, str):
        try:
            NameTemplate.parse(value)
        except ConfigError as error:
            raise ValueError(f"{error.message}. {error.remedy}") from error
    return value


def _to_text(value: object) -> str:
    return "" if value is None else str(value)


Address = Annotated[Listen, NoDecode, BeforeValidator(_to_listen), PlainSerializer(_to_text)]


AddressOrOff = Annotated[
    Listen | None, NoDecode, BeforeValidator(_to_listen_or_off), PlainSerializer(_to_text)
]


RotationText = Annotated[
    RotationRule, NoDecode, BeforeValidator(_to_rotation), PlainSerializer(format_rotation)
]


ZoneText = Annotated[Zone, NoDecode, BeforeValidator(_to_zone), PlainSerializer(format_zone)]


OptionalPath = Annotated[Path | None, BeforeValidator(_to_path_or_none), PlainSerializer(_to_text)]


TemplateText = Annotated[str, BeforeValidator(_to_template)]


class Section(BaseModel):
    """A table of the file. Unknown keys are refused; values are fixed once read."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
