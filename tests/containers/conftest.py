from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.mp4_media import Clip, make_clip


@pytest.fixture(scope="session")
def clip_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Clip]:
    """A clip with these codecs, made once."""
    folder: Path = tmp_path_factory.mktemp("clips")
    clips: dict[tuple[str, ...], Clip] = {}

    def get(*codecs: str) -> Clip:
        if codecs not in clips:
            clips[codecs] = make_clip(folder, *codecs)
        return clips[codecs]

    return get
