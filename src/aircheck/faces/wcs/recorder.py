"""`/recorder/…`: recordings of one media session each."""

from __future__ import annotations

from aircheck.faces.wcs.arguments import Arguments
from aircheck.faces.wcs.methods import Answer, RestMethod
from aircheck.faces.wcs.streams import live_session
from aircheck.facts import MULTI_RECORDER
from aircheck.service.errors import NotFound
from aircheck.service.options import RecordingOptions
from aircheck.service.services import Services

BY_WCS = "wcs"


def recorder_methods(services: Services) -> tuple[RestMethod, ...]:
    async def startup(arguments: Arguments) -> Answer:
        control = services.control
        options = _options(arguments.table("config"), control.plan.template.excluded_characters)
        media_session_id = live_session(services, arguments)
        await control.replace(media_session_id, options, requested_by=BY_WCS)
        return None

    async def terminate(arguments: Arguments) -> Answer:
        media_session_id = arguments.required_text("mediaSessionId")
        if not await services.control.stop_all_of(media_session_id):
            raise NotFound(
                f"nothing records the media session {media_session_id!r}",
                remedy="/recorder/find_all lists what is recorded now",
            )
        return None

    async def find_all(_: Arguments) -> Answer:
        found = [
            {
                "fileName": services.recordings.current_file_name(facts.id),
                "mediaSessionId": facts.media_session_id,
            }
            for facts in services.control.running()
            if not facts.media_session_id.startswith(MULTI_RECORDER)
        ]
        if not found:
            raise NotFound("nothing is recorded now", remedy="/recorder/startup begins a recording")
        return found

    return (
        RestMethod(
            ("/recorder/startup", "/stream/startRecording"),
            "Record a media session; what records it already is stopped before. Without `config`, or one of "
            "its keys, the settings say it. `rotation` is seconds (`20`), megabytes (`20M`) or `disabled`.",
            startup,
            takes='{"mediaSessionId": "…", "config": {"fileTemplate": "{streamName}", "rotation": "20M"}}',
            errors=(400, 404, 500),
        ),
        RestMethod(
            ("/recorder/terminate", "/stream/stopRecording"),
            "Stop what records a media session; answers when its files are final.",
            terminate,
            takes='{"mediaSessionId": "…"}',
            errors=(400, 404, 500),
        ),
        RestMethod(
            ("/recorder/find_all",),
            "What is recorded now, however it was begun; recordings of several sessions are listed by "
            "`/multipleRecorder/find_all`. An element of a name that is not known yet stays as "
            "it is in the template.",
            find_all,
            gives='[{"fileName": "003f-1563776713987-{endTime}.mp4", "mediaSessionId": "…"}]',
            errors=(404, 500),
        ),
    )


def _options(config: Arguments, excluded_characters: str) -> RecordingOptions:
    """A slash that names may not have is left out, as it is of the template in the settings."""
    template = config.text("fileTemplate")
    if template is not None and "/" in excluded_characters:
        template = template.replace("/", "")
    return RecordingOptions(name=template, rotation=config.text("rotation"))
