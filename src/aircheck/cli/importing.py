"""Settings of other servers: beneath ours, or as a TOML file of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from aircheck.faces.wcs.properties import ImportedSettings, Value, read_flashphoner_properties
from aircheck.settings import RecordSettings, Settings, load_settings


def import_properties(path: Path) -> ImportedSettings:
    """Raises ConfigError."""
    formats = get_args(RecordSettings.model_fields["format"].annotation)
    return read_flashphoner_properties(path, formats=formats)


def settings_over(
    path: Path, config: Path | None, host: str | None = None
) -> tuple[Settings, ImportedSettings]:
    """The settings with those of a properties file beneath them. Raises ConfigError."""
    imported = import_properties(path)
    settings = load_settings(config, beneath=imported.values, beneath_name=str(path))
    return settings if host is None else settings.with_host(host), imported


def to_toml(imported: ImportedSettings, path: Path) -> str:
    """A settings file; what was not kept stands in it as comments."""
    lines = [f"# Made by `aircheck import` from {json.dumps(str(path), ensure_ascii=False)}."]
    lines += [f"# {' '.join(warning.split())}" for warning in imported.warnings]
    for table, values in imported.values.items():
        lines += ["", f"[{table}]", *(f"{key} = {_toml_value(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: Value) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml_value(each)}' for key, each in value.items())} }}"
    # Texts of JSON are texts of TOML, but for DEL, which only TOML wants to be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
