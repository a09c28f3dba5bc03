"""The reference page of the WCS REST API, made from its table of methods.

    python -m aircheck.faces.wcs.reference > docs/reference/wcs-rest.md

A test fails while the page is not what this prints.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import cast

from aircheck.faces.wcs.app import WcsOptions, wcs_methods
from aircheck.faces.wcs.methods import RestMethod
from aircheck.service.services import Services

_HEAD = """\
# WCS REST API

<!-- Made by `python -m aircheck.faces.wcs.reference` from the program. Edit that. -->

What clients of a Flashphoner WCS call, under `/rest-api` on the ports of `[http]` and `[https]`: 8081
and 8444 unless set otherwise. What is different here is told in
[Take over from a Flashphoner WCS](../how-to/flashphoner.md).

`POST` with a JSON object, or `GET` without a body. Booleans may come as text (`"true"`), fields that are null
or empty are as if they were not there, and fields that are not known are passed over. Status 200 says that it
was done; what gives nothing has an empty body. CORS is answered as `[wcs] allow_origin` says.

| status | |
|---|---|
| 400 | the request cannot be meant |
| 404 | it does not exist, or there is none to list |
| 409 | it exists already |
| 500 | it cannot be done now: no room on the disk, or a fault of ours |
| 501 | this server does not do that yet |

An error has a body, `{"exception", "reason", "path", "error", "message", "timestamp", "status"}`; only the
status is promised.

A **Stream** leaves out what is not known: `sdp` and `gop` always, `fps` while nothing records the stream.
`bitrate` is in kbit/s and of the last seconds. `appKey` is `flashStreamingApp` and `mediaProvider` is `Flash`
for all that came in by RTMP. `recordName` is the file that is written now, relative to the record folder.
Viewers are not listed.
"""


def wcs_rest_page() -> str:
    """docs/reference/wcs-rest.md, in Markdown."""
    # Methods turn to the services only when they are called, and nobody calls them here.
    methods = wcs_methods(cast(Services, None), WcsOptions())
    distinct = {method.paths[0]: method for method in methods.values()}
    return _HEAD + "".join(line for method in distinct.values() for line in _section(method))


def _section(method: RestMethod) -> Iterator[str]:
    first, *others = method.paths
    yield f"\n## {first}\n\n"
    if others:
        yield f"Also: {', '.join(f'`{path}`' for path in others)}\n\n"
    yield f"{method.does}\n\n"
    if method.takes:
        yield f"- Request: `{method.takes}`\n"
    yield f"- Answer: `{method.gives}`\n" if method.gives else "- Answer: empty\n"
    if method.errors:
        yield f"- Errors: {', '.join(map(str, method.errors))}\n"


if __name__ == "__main__":
    sys.stdout.write(wcs_rest_page())
