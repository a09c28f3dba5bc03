"""Reference: the API and the metrics as pages, made from what the program itself says of them.

    python -m aircheck.faces.api.reference http-api > docs/reference/http-api.md
    python -m aircheck.faces.api.reference metrics > docs/reference/metrics.md

A test fails while a page is not what this prints.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, cast

from aircheck.faces.api.app import create_app
from aircheck.faces.api.metrics import METRICS
from aircheck.service.services import Services

_MADE_BY = "<!-- Made by `python -m aircheck.faces.api.reference {name}` from the program. Edit that. -->"
_METHODS = ("get", "post", "put", "patch", "delete")

_API_INTRO = """\
Everything is JSON. Times are RFC 3339 in UTC (`…_utc`), durations milliseconds (`…_ms`), sizes bytes
(`…_bytes`). The same is at `/docs` of every running server, to be tried out, and as OpenAPI at
`/openapi.json`.

**Lists** are `{"items": […], "next_cursor": …}`. To read on, send the same request with `cursor` set to
`next_cursor`; it is null at the end. A cursor names the last item, so what is added or deleted meanwhile
neither repeats nor hides anything.

**Errors** are problem details (RFC 9457), `application/problem+json`: `type` (`urn:aircheck:problem:…`),
`title`, `status`, `detail` and a `remedy`. With 422, `errors` names each argument. A 500 tells a reference
and nothing else; the log has the rest under it.

**Commands** are `POST` and `DELETE`. A body is JSON and says so by `Content-Type: application/json`; what a
browser sends for a page of another site is refused with 403. This port has no login yet: whoever reaches it
may do everything that stands here, so keep it on 127.0.0.1 or behind a proxy that asks who it is (see
[TLS and access](../how-to/secure.md)).

**Files** know `Range` (also several at once), `If-Range`, `If-None-Match`, `If-Match`, `If-Modified-Since`
and `If-Unmodified-Since`. A file that still grows is served as if it were finished at that moment, with
`Cache-Control: no-store` and without validators; a player that began while it grew goes on after it was
finalized."""

_METRICS_INTRO = """\
`GET /metrics` answers in Prometheus' text format. Labels of a stream or a recording vanish with it; counters
of a stream begin at 0 with each publication. `process_…` (CPU, memory, descriptors) come beside these."""


class _Uncalled:
    """Services that are all there: routes are made with them, and nobody calls the routes here."""

    def __getattr__(self, name: str) -> _Uncalled:
        return self

    def __call__(self, *_: object) -> _Uncalled:
        """Services are told of each other while routes are made."""
        return self


def http_api_page() -> str:
    """docs/reference/http-api.md, in Markdown."""
    api = create_app(cast(Services, _Uncalled())).openapi()
    return "\n".join(_api_lines(api)) + "\n"


def metrics_page() -> str:
    """docs/reference/metrics.md, in Markdown."""
    return "\n".join(_metric_lines()) + "\n"


def _metric_lines() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield _MADE_BY.format(name="metrics")
    yield ""
    yield _METRICS_INTRO
    yield ""
    yield "| metric | type | labels | |"
    yield "|---|---|---|---|"
    for spec in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        yield f"| `{spec.exposed_name}` | {spec.kind} | {labels} | {spec.help} |"


def _api_lines(api: Mapping[str, Any]) -> Iterator[str]:
    yield "# The HTTP API"
    yield ""
    yield _MADE_BY.format(name="http-api")
    yield ""
    yield _API_INTRO
    for path, operations in api["paths"].items():
        for method in _METHODS:
            if method in operations:
                yield from _operation_lines(method, path, operations[method])
    yield ""
    yield "## Objects"
    for name, schema in sorted(api["components"]["schemas"].items()):
        yield from _schema_lines(name, schema)


def _operation_lines(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"## {method.upper()} {path}"
    yield ""
    yield operation["description"]
    if parameters := operation.get("parameters"):
        yield ""
        yield "| parameter | in | type | |"
        yield "|---|---|---|---|"
        for parameter in parameters:
            words = parameter.get("description", "")
            yield f"| `{parameter['name']}` | {parameter['in']} | {_type(parameter['schema'])} | {words} |"
    if body := operation.get("requestBody"):
        yield from _body_lines(body["content"]["application/json"])
    yield ""
    yield "Answers: " + ", ".join(_answers(operation["responses"])) + "."


def _body_lines(body: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"Body: {_type(body['schema'])}."
    for example in body.get("examples", {}).values():
        yield ""
        yield f"{example['summary']}:"
        yield ""
        yield "```json"
        yield json.dumps(example["value"], ensure_ascii=False)
        yield "```"


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    for status, response in responses.items():
        content = response.get("content", {})
        schemas = [media["schema"] for media in content.values() if "$ref" in media.get("schema", {})]
        yield f"{status} {_type(schemas[0])}" if schemas else status


def _schema_lines(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"### {name}"
    yield ""
    if words := schema.get("description", ""):
        yield words.replace("\n", " ")
        yield ""
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."
        return
    yield "| field | type | |"
    yield "|---|---|---|"
    for field, kind in schema["properties"].items():
        yield f"| `{field}` | {_type(kind)} | {kind.get('description', '')} |"


def _type(schema: Mapping[str, Any]) -> str:
    """The type of a field in a few words: `integer`, `list of Track`, `string or null`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    limits = [
        f"{sign} {schema[key]:.0f}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in schema
    ]
    default = [f"default {schema['default']}"] if schema.get("default") is not None else []
    kind = schema.get("format") or schema.get("type", "any")
    return ", ".join([kind, *limits, *default])


if __name__ == "__main__":
    sys.stdout.write({"http-api": http_api_page, "metrics": metrics_page}[sys.argv[1]]())
