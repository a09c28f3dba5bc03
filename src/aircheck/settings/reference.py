"""The reference page of the settings, made from the registry: `python -m aircheck.settings`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from inspect import getdoc
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aircheck.recording.naming import NameEncoding
from aircheck.settings.load import default_values, environment_variable, sections

_UNITS = {
    "_ms": "milliseconds",
    "_s": "seconds",
    "_bytes": 'bytes, or text such as `"16MiB"`',
    "_kb": "KiB",
}

_BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"))

_HEAD = """\
# Settings

One TOML file: `aircheck serve --config FILE`, else what `AIRCHECK_CONFIG` names, else `aircheck.toml` in the
folder the server is started in. Everything has a default; without a file the server runs.

A variable of the environment stands for each setting and wins over the file: `AIRCHECK_RECORD__ROTATION=20`
is `rotation = "20"` in the table `[record]`. Lists and tables are written as JSON there. Unknown keys,
unknown `AIRCHECK_` variables and bad values are refused at start, with the line and a remedy.

Elements of file names are in [file names](file-names.md).

<!-- Made by `python -m aircheck.settings > docs/reference/settings.md`; a test compares. -->
"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return _HEAD + "".join(_section(name, model) for name, model in sections())


def _section(name: str, model: type[BaseModel]) -> str:
    defaults = default_values()[name]
    parts = [f"\n## [{name}]\n\n{getdoc(model)}\n"]
    for key, field in model.model_fields.items():
        parts.append(f"\n### {key}\n\n{field.description}\n\n")
        parts.extend(f"- {line}\n" for line in _facts(name, key, field, defaults[key]))
    return "".join(parts)


def _facts(section: str, key: str, field: FieldInfo, default: Any) -> Iterator[str]:
    yield f"Default: `{json.dumps(default)}`"
    if unit := unit_of(key):
        yield f"Unit: {unit}"
    if values := _values(field):
        yield f"Values: {values}"
    yield f"Environment: `{environment_variable(section, key)}`"


def unit_of(key: str) -> str:
    """The unit that a setting's name ends in; empty for what has none."""
    return next((unit for suffix, unit in _UNITS.items() if key.endswith(suffix)), "")


def _values(field: FieldInfo) -> str:
    if field.annotation is NameEncoding:
        return ", ".join(f"`{value}`" for value in NameEncoding)
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    bounds = ((name, words, metadata) for name, words in _BOUNDS for metadata in field.metadata)
    return ", ".join(f"{words} {getattr(each, name)}" for name, words, each in bounds if hasattr(each, name))
