"""One server and one browser for all tests of a module, one set of clips for the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.driven_browser import Chromium, Tab
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


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def browser(chromium: Chromium) -> Iterator[Tab]:
    """A tab that shares nothing with those of other tests; its camera and microphone are fake."""
    with chromium.tab() as tab:
        yield tab
