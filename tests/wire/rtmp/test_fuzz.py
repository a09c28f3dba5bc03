"""A short, bounded run of fuzz/fuzz_rtmp.py, so that it always works when somebody wants a long one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FUZZER = Path(__file__).parents[3] / "fuzz" / "fuzz_rtmp.py"


@pytest.fixture(scope="module")
def fuzzer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_rtmp", FUZZER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_seed_gets_past_the_handshake(fuzzer: ModuleType) -> None:
    assert len(fuzzer.seeds()) >= 10
    for seed in fuzzer.seeds():
        assert fuzzer.run_one(seed) >= 2


def test_mutated_input_brings_events_or_a_protocol_error(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fuzzer.fuzz(seed=7, rounds=1500) >= 1500


def test_the_fuzzer_would_notice_another_exception(
    fuzzer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fuzzer, "_answer", lambda connection: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        fuzzer.fuzz(seed=7, rounds=1)
    assert len(list(tmp_path.glob("crash-*"))) == 1
