"""The reference pages say what the program does."""

from __future__ import annotations

from pathlib import Path

from aircheck.faces.api.metrics import METRICS
from aircheck.faces.api.reference import http_api_page, metrics_page
from aircheck.faces.wcs.reference import wcs_rest_page

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def test_page_of_the_api_is_what_the_program_prints() -> None:
    assert (DOCS / "http-api.md").read_text() == http_api_page(), (
        "run: python -m aircheck.faces.api.reference"
    )


def test_page_of_the_metrics_is_what_the_program_prints() -> None:
    assert (DOCS / "metrics.md").read_text() == metrics_page(), "run: python -m aircheck.faces.api.reference"


def test_page_of_the_wcs_api_is_what_the_program_prints() -> None:
    assert (DOCS / "wcs-rest.md").read_text() == wcs_rest_page(), (
        "run: python -m aircheck.faces.wcs.reference"
    )


def test_each_metric_is_on_its_page() -> None:
    page = (DOCS / "metrics.md").read_text()
    assert [spec.exposed_name for spec in METRICS.values() if f"`{spec.exposed_name}`" not in page] == []
