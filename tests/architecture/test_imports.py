"""The floors of the house, as pyproject.toml draws them."""

from __future__ import annotations

import pytest
from importlinter.cli import lint_imports


def test_every_import_keeps_the_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    code = lint_imports(no_cache=True)
    assert code == 0, capsys.readouterr().out
