"""One server for all tests of a module, one set of clips for the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.media import MediaFolder
from helpers.server import ServerProcess


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> MediaFolder:
    return MediaFolder(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose files are named after their streams; each test takes a name of its own."""
    with ServerProcess(tmp_path_factory.mktemp("server"), record=['name = "{streamName}"']) as running:
        yield running
