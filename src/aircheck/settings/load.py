"""Settings from a file and the environment, and every reason why they cannot be used, each with its place."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from aircheck.errors import ConfigError
from aircheck.recording.hook_facts import HOOK_VARIABLES
from aircheck.settings.model import ENV_DELIMITER, ENV_PREFIX, Settings

CONFIG_VARIABLE = f"{ENV_PREFIX}CONFIG"
_NO_SETTINGS = {CONFIG_VARIABLE, *HOOK_VARIABLES}
DEFAULT_FILE = Path("aircheck.toml")

_SECRET_SECTIONS = ("access", "backend_hooks")
_TOML_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-.\"' ]+?)\s*=")


@dataclass(frozen=True, slots=True)
class Problem:
    """One setting that cannot be used. `where` is `FILE:LINE`, or the environment variable."""

    where: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class SettingsError(ConfigError):
    """All that is wrong with the settings, at once."""

    def __init__(self, *problems: Problem) -> None:
        remedies = dict.fromkeys(problem.remedy for problem in problems if problem.remedy)
        super().__init__("\n".join(map(str, problems)), remedy=" ".join(remedies))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Source:
    """The file that was read, kept to say where in it a setting stands.

    `beneath` names what settings that are not in it may come from.
    """

    name: str = ""
    text: str = ""
    beneath: str = ""

    def place(self, *path: str) -> str:
        """`FILE:LINE` of a setting, of its table when it has no line of its own."""
        line = line_of(self.text, path)
        return self.beneath or self.name if line is None else f"{self.name}:{line}"


def load_settings(
    config: Path | None = None,
    *,
    beneath: Mapping[str, Mapping[str, object]] | None = None,
    beneath_name: str = "",
) -> Settings:
    """Read the file, lay the environment over it, check everything.

    Without `config` the file is what `AIRCHECK_CONFIG` names, or `aircheck.toml` in this folder if there is
    one. `beneath` are values (table → key → value) that count where neither says anything; `beneath_name` is
    where they come from. Raises SettingsError with every problem found.
    """
    source, values = _read(_config_path(config))
    source, values = replace(source, beneath=beneath_name), _laid_over(beneath or {}, values)
    problems = list(_environment_problems(os.environ))
    if problems:
        raise SettingsError(*problems)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(*(_problem(source, each) for each in error.errors())) from error
    if problems := list(_problems_between_tables(source, settings)):
        raise SettingsError(*problems)
    return settings


def _problems_between_tables(source: Source, settings: Settings) -> Iterator[Problem]:
    if settings.rtmps.listen is not None and settings.rtmps_certificate is None:
        remedy = "Set cert and key in [tls], or others in [rtmps]; `aircheck cert` makes some to begin with."
        yield Problem(_where(source, "rtmps", "listen"), "RTMPS needs a certificate", remedy)


def _laid_over(beneath: Mapping[str, Mapping[str, object]], values: dict[str, Any]) -> dict[str, Any]:
    """Values key by key, those of `beneath` where there are none. What is no table is left to be refused."""
    merged: dict[str, Any] = {name: dict(table) for name, table in beneath.items()}
    for name, table in values.items():
        is_table = isinstance(table, dict)
        merged[name] = {**merged.get(name, {}), **table} if is_table else table
    return merged


def environment_variable(section: str, key: str) -> str:
    return f"{ENV_PREFIX}{section}{ENV_DELIMITER}{key}".upper()


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """The tables of the file with their models, in order."""
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        yield name, field.annotation


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """The line (from 1) of a TOML text where a key stands, else of the innermost table around it."""
    table: tuple[str, ...] = ()
    best, best_depth = None, 0
    for number, line in enumerate(text.splitlines(), 1):
        if (header := _TABLE.match(line)) is not None:
            here = table = _split(header[1])
        elif (key := _KEY.match(line)) is not None:
            here = table + _split(key[1])
        else:
            continue
        if len(here) > best_depth and here == path[: len(here)]:
            best, best_depth = number, len(here)
    return best


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _config_path(config: Path | None) -> Path | None:
    if config is not None:
        return config
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _read(path: Path | None) -> tuple[Source, dict[str, Any]]:
    if path is None:
        return Source(), {}
    try:
        text = path.read_text(encoding="utf-8")
        return Source(str(path), text), tomllib.loads(text)
    except OSError as error:
        remedy = "Give the path of a TOML file that this user may read."
        raise SettingsError(Problem(str(path), f"cannot be read: {error.strerror}", remedy)) from error
    except UnicodeDecodeError as error:
        raise SettingsError(Problem(str(path), "is not UTF-8 text", "Save it as UTF-8.")) from error
    except tomllib.TOMLDecodeError as error:
        line = _TOML_LINE.search(str(error))
        where = f"{path}:{line[1]}" if line is not None else str(path)
        raise SettingsError(Problem(where, f"is not TOML: {error}", _toml_remedy(str(error)))) from error


def _toml_remedy(error: str) -> str:
    if error.startswith("Cannot declare"):
        return "Each table stands in the file once: put its lines below the one that is there already."
    return 'Texts stand in quotation marks: name = "value". Tables begin with [table].'


def _environment_problems(environ: Mapping[str, str]) -> Iterator[Problem]:
    known = {environment_variable(section, key): field for section, key, field in _fields()}
    for name, value in environ.items():
        variable = name.upper()
        if not variable.startswith(ENV_PREFIX) or variable in _NO_SETTINGS:
            continue
        if variable not in known:
            yield Problem(name, "is no setting", _did_you_mean(variable, list(known)) or "Unset it.")
        elif get_origin(known[variable]) in (dict, tuple) and not _is_json(value):
            yield Problem(
                name, "is not JSON", 'Write a list as \'["a", "b"]\' and a table as \'{"a": "b"}\'.'
            )


def _fields() -> Iterator[tuple[str, str, Any]]:
    for section, model in sections():
        for key, field in model.model_fields.items():
            yield section, key, field.annotation


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _problem(source: Source, error: Mapping[str, Any]) -> Problem:
    path = tuple(str(part) for part in error["loc"][:2])
    where = _where(source, *path)
    setting = ".".join(path)
    match error["type"]:
        case "extra_forbidden":
            return Problem(where, f"unknown setting {setting}", _known(path))
        case "value_error":
            return Problem(where, f"{setting}: {error['ctx']['error']}", _default(path))
        case "model_type":
            return Problem(where, f"{setting} is a table", f"Write [{setting}] and its settings below it.")
        case _:
            return Problem(where, f"{setting}: {error['msg']}{_shown(path, error['input'])}", _default(path))


def _where(source: Source, *path: str) -> str:
    variable = environment_variable(*path) if len(path) == 2 else ""
    return variable if variable in os.environ else source.place(*path)


def _shown(path: tuple[str, ...], value: object) -> str:
    """The value that was refused, unless it may be a secret."""
    if not isinstance(value, str | int | float) or path[0] in _SECRET_SECTIONS:
        return ""
    return f" (it is {json.dumps(value)})"


def _known(path: tuple[str, ...]) -> str:
    models = dict(sections())
    *table, key = path
    keys = list(models[table[0]].model_fields) if table else list(models)
    homes = [f"[{name}]" for name, model in models.items() if key in model.model_fields]
    if homes:
        return f"{key} belongs to {' or '.join(homes)}."
    listing = f"Known {f'in [{table[0]}]' if table else 'tables'}: {', '.join(keys)}."
    # A key is short: two letters swapped are much of it.
    return _did_you_mean(key, keys, likeness=0.6) or listing


def _did_you_mean(name: str, known: list[str], *, likeness: float = 0.7) -> str:
    close = get_close_matches(name, known, n=1, cutoff=likeness)
    return f"Did you mean {close[0]}?" if close else ""


def _default(path: tuple[str, ...]) -> str:
    if len(path) < 2:
        return ""
    default = default_values()[path[0]][path[1]]
    return f"{path[1]} is {json.dumps(default)} when it is left out."


def default_values() -> dict[str, dict[str, Any]]:
    """Every setting as the file would write it, by table and key."""
    return Settings.model_construct().model_dump(mode="json")
