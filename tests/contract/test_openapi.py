"""Requests that are made up, valid and not: no answer is a server error, and each is as promised.

Ours come from the OpenAPI document, those of WCS from the names that its clients use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
import schemathesis
from helpers.server import ServerProcess
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from aircheck.faces.wcs.app import WcsOptions, wcs_methods
from aircheck.service.services import Services

EXAMPLES = 25
"""Of each operation; about ten milliseconds each."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("server")) as running:
        yield running


def test_nothing_that_the_document_allows_makes_the_server_fail(server: ServerProcess) -> None:
    schema = schemathesis.openapi.from_url(server.http_url("/openapi.json"))
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        _try(operation, schemathesis.GenerationMode.POSITIVE)


def test_nothing_that_the_document_forbids_makes_the_server_fail(server: ServerProcess) -> None:
    schema = schemathesis.openapi.from_url(server.http_url("/openapi.json"))
    operations = [found.ok() for found in schema.get_all_operations()]
    # The others take nothing that could be wrong.
    with_arguments = [one for one in operations if one.query or one.body]
    assert len(with_arguments) > 5
    for operation in with_arguments:
        _try(operation, schemathesis.GenerationMode.NEGATIVE)


_NAMES = st.sampled_from(
    ["mediaSessionId", "mediaSessionIds", "name", "published", "status", "display", "uri", "sessionId"]
)
_CONFIG_NAMES = st.sampled_from(["config", "fileTemplate", "rotation", "clientVersion"])
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("{streamName}")
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_CONFIG_NAMES, inner, max_size=3)
)
_BODIES = (
    st.dictionaries(_NAMES | _CONFIG_NAMES, _VALUES).map(lambda body: json.dumps(body).encode()) | st.binary()
)


def test_no_request_makes_the_wcs_api_fail(server: ServerProcess) -> None:
    methods = wcs_methods(cast(Services, None), WcsOptions())

    @given(path=st.sampled_from(sorted(methods)), body=_BODIES)
    @settings(max_examples=400, deadline=None, database=None)
    @seed(1)
    def attempt(path: str, body: bytes) -> None:
        answer = client.post(server.http_url(f"/rest-api{path}"), content=body)
        # There is no disk that could be full.
        promised = {200, 400, *methods[path].errors} - {500}
        assert answer.status_code in promised, answer.text

    with httpx.Client(timeout=10) as client:
        attempt()


def _try(operation: Any, mode: schemathesis.GenerationMode) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(1)
    def attempt(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    attempt()
