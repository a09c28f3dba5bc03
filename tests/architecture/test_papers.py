"""What the papers say can be followed: links lead somewhere, examples of settings load, commands exist."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from typer.main import get_command

from aircheck.cli import app
from aircheck.settings import load_settings

ROOT = Path(__file__).parents[2]
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|`|\s)(?:\./run|aircheck) ([a-z]+)\b")


def paper_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("paper", PAPERS, ids=paper_id)
def test_links_between_papers_lead_somewhere(paper: Path) -> None:
    targets = [target for target in LINK.findall(paper.read_text()) if "://" not in target]
    assert [target for target in targets if not (paper.parent / target).exists()] == []


@pytest.mark.parametrize("paper", PAPERS, ids=paper_id)
def test_settings_in_papers_can_be_used(paper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AIRCHECK_")]:
        monkeypatch.delenv(name)
    for language, text in BLOCK.findall(paper.read_text()):
        if language == "toml":
            config = tmp_path / "aircheck.toml"
            config.write_text(text)
            load_settings(config)


@pytest.mark.parametrize("paper", PAPERS, ids=paper_id)
def test_commands_in_papers_exist(paper: Path) -> None:
    known = {*getattr(get_command(app), "commands", {}), "setup"}
    blocks = [text for language, text in BLOCK.findall(paper.read_text()) if language == "sh"]
    used = {word for text in blocks for word in COMMAND.findall(text)}
    assert used - known == set()


def test_there_are_papers_to_look_at() -> None:
    assert {"README.md", "CHANGELOG.md", "docs/tutorial.md"} <= {paper_id(path) for path in PAPERS}
