"""Names of files: elements and their caps, and the promise that any name is one safe path."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aircheck.errors import ConfigError
from aircheck.recording.names import plain_name
from aircheck.recording.naming import (
    NAME_MAX_BYTES,
    NameElements,
    NameEncoding,
    NameTemplate,
    candidates,
    safe_component,
    truncate,
    versions,
)

KNOWN = NameElements(
    stream_name="news",
    app="live/../x",
    session_id="/10.0.0.2:50159/10.0.0.5:8443",
    media_session_id="0e8d1a5c-6f3b-4a53-9d76-9a3f3f1a7f10",
    login="studio",
    start_ms=1553577643961,
    end_ms=1553577663988,
    start_ns=1_795_230_000_123_456_789,
    end_ns=1_795_230_020_150_000_000,
    duration_ms=20_027,
    audio_codec="aac",
    video_codec="h264",
)


def name_of(template: str, elements: NameElements = KNOWN, part: int | None = None) -> str:
    return NameTemplate.parse(template).resolve(elements, extension="mp4", part=part)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("stream-{mediaSessionId}-{login}", "stream-0e8d1a5c-6f3b-4a53-9d76-9a3f3f1a7f10-studio.mp4"),
        ("{streamName}-{startTime}-{endTime}", "news-1553577643961-1553577663988.mp4"),
        ("{startTimeMillis}-{endTimeMillis}", "1795230000123-1795230020150.mp4"),
        ("{duration}", "20027.mp4"),
        ("{videoCodec}-{audioCodec}", "h264-aac.mp4"),
        ("{sessionId}", "LzEwLjAuMC4yOjUwMTU5LzEwLjAuMC41Ojg0NDM=.mp4"),
        ("{time:%Y%m%d-%H%M%S}", "20261121-030000.mp4"),
        ("{time:%f}", "123456.mp4"),
        ("{time@Asia/Tokyo:%H%M}", "1200.mp4"),
        ("{time@UTC:%H%M}", "0300.mp4"),
        ("{streamName}/{time:%Y/%m}/{login}", "news/2026/11/studio.mp4"),
        ("/{streamName}", "news.mp4"),
        ("{app}/streams/{streamName}", "live..x/streams/news.mp4"),
    ],
)
def test_elements_become_what_is_known(template: str, name: str) -> None:
    assert name_of(template) == name


def test_local_time_is_the_time_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-5")
    time.tzset()
    try:
        assert name_of("{time@local:%H%M}") == "0800.mp4"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("element", "cap"),
    [("sessionId", 60), ("mediaSessionId", 36), ("login", 32), ("audioCodec", 4), ("videoCodec", 4)],
)
def test_long_values_are_cut_to_their_cap(element: str, cap: int) -> None:
    long = NameElements(
        session_id="s" * 90,
        media_session_id="m" * 90,
        login="l" * 90,
        audio_codec="a" * 90,
        video_codec="v" * 90,
    )
    assert len(name_of(f"{{{element}}}", long)) == cap + len(".mp4")


def test_rotated_files_are_numbered_before_the_extension() -> None:
    assert name_of("{streamName}-{startTime}-{endTime}", part=2) == "news-1553577643961-1553577663988_2.mp4"


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{streamName}_part{part:0000}", ["news_part0000.mp4", "news_part0001.mp4", "news_part0011.mp4"]),
        ("{part:1}-{streamName}", ["1-news.mp4", "2-news.mp4", "12-news.mp4"]),
        ("{part:98}", ["98.mp4", "99.mp4", "109.mp4"]),
        ("{part:01}/{streamName}", ["01/news.mp4", "02/news.mp4", "12/news.mp4"]),
    ],
)
def test_a_template_may_say_how_the_first_file_is_numbered(template: str, names: list[str]) -> None:
    assert [name_of(template, replace(KNOWN, part=part)) for part in (1, 2, 12)] == names


@pytest.mark.parametrize("encoding", NameEncoding)
def test_a_long_name_keeps_the_number_that_the_template_has_a_place_for(encoding: NameEncoding) -> None:
    template = NameTemplate.parse("{streamName}_part{part:0000}", encoding=encoding)
    first, second = (
        template.resolve(replace(KNOWN, stream_name="ä" * 200, part=part), extension="mp4") for part in (1, 2)
    )
    assert first != second
    assert len(first.encode()) <= len(second.encode()) <= NAME_MAX_BYTES
    if encoding is NameEncoding.PLAIN:
        assert first.endswith("ä_part0000.mp4")


def test_folders_by_date_and_names_by_time_in_a_zone() -> None:
    """As EvoStream names files with `dateFolderStructure`; there the zone is the machine's, `local`."""
    template = "{streamName}/{time@Asia/Tokyo:%Y%m%d}/{streamName}-{time@Asia/Tokyo:%Y%m%d-%H%M%S}"
    assert name_of(template) == "news/20261121/news-20261121-120000.mp4"


def test_an_element_not_known_yet_stays_literal_in_the_preview() -> None:
    template = NameTemplate.parse("{streamName}-{startTimeMillis}-{endTime}")
    growing = NameElements(stream_name="003f", start_ns=1_563_776_713_987_000_000)
    assert template.preview(growing, extension="mp4") == "003f-1563776713987-{endTime}.mp4"


def test_the_preview_of_a_name_that_is_all_known_is_the_name() -> None:
    template = NameTemplate.parse("{streamName}", encoding=NameEncoding.HEX)
    assert template.preview(KNOWN, extension="mp4") == template.resolve(KNOWN, extension="mp4")


def test_what_is_unknown_at_the_end_is_left_empty() -> None:
    assert name_of("{streamName}-{videoCodec}", NameElements(stream_name="radio")) == "radio-.mp4"


@pytest.mark.parametrize(
    "template", ["{strreamName}", "{}", "{time}", "{time:}", "{streamname}", "{part}", "{part:}", "{part:a}"]
)
def test_an_unknown_element_is_refused_with_the_list_of_known_ones(template: str) -> None:
    with pytest.raises(ConfigError, match="unknown element") as refused:
        NameTemplate.parse(template)
    assert "{streamName}" in refused.value.remedy
    assert "{videoCodec}" in refused.value.remedy


@pytest.mark.parametrize("template", ["{streamName", "streamName}", "{{streamName}}"])
def test_a_brace_without_its_partner_is_refused(template: str) -> None:
    with pytest.raises(ConfigError):
        NameTemplate.parse(template)


@pytest.mark.parametrize("template", ["", "/", "{streamName}/", "a//", "{time:%Y/}"])
def test_a_template_without_a_file_name_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="no file name"):
        NameTemplate.parse(template)


def test_a_format_of_time_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ConfigError, match="no format of a time"):
        NameTemplate.parse("{time:\ud800%Y}")


@given(st.text(max_size=40))
def test_any_template_is_refused_in_good_order_or_gives_a_name(text: str) -> None:
    try:
        template = NameTemplate.parse(text)
    except ConfigError:
        return
    assert template.resolve(KNOWN, extension="mp4").endswith(".mp4")


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match="Europe/Atlantis"):
        NameTemplate.parse("{time@Europe/Atlantis:%H}")


def test_hex_and_base64_names_can_be_decoded() -> None:
    plain = "straße ☃/?"
    for encoding, decode in (
        (NameEncoding.HEX, bytes.fromhex),
        (NameEncoding.BASE64, lambda text: base64.b64decode(text, altchars=b"-_", validate=True)),
    ):
        template = NameTemplate.parse("{streamName}", encoding=encoding)
        name = template.resolve(NameElements(stream_name=plain), extension="mp4", part=7)
        stem, _, rest = name.rpartition("_")
        assert rest == "7.mp4"
        assert decode(stem).decode() == "straße ☃?"


def test_folders_are_encoded_one_by_one() -> None:
    template = NameTemplate.parse("{login}/{streamName}", encoding=NameEncoding.HEX)
    assert template.resolve(NameElements(stream_name="b", login="a"), extension="mp4") == "61/62.mp4"


def test_excluded_characters_are_removed_from_the_name() -> None:
    template = NameTemplate.parse("{streamName}", excluded_characters=":.,/")
    pulled = NameElements(stream_name="rtmp://host.example/live/a,b")
    assert template.resolve(pulled, extension="mp4") == "rtmphostexampleliveab.mp4"


@pytest.mark.parametrize(
    ("hostile", "component"),
    [
        ("../../etc/passwd", "___.._etc_passwd"),
        ("..", "__"),
        (".hidden", "_hidden"),
        ("a\x00b\x1b[2Jc", "a_b_[2Jc"),
        ("a\\b", "a_b"),
        ("nul", "_nul"),
        ("Com1.x", "_Com1.x"),
        ("console", "console"),
        ("", "unnamed"),
        (" \t ", "_"),
        ("\ud800", "_"),
        ("invoice\u202egpj", "invoice_gpj"),
    ],
)
def test_hostile_names_become_visible_ordinary_ones(hostile: str, component: str) -> None:
    assert safe_component(hostile) == component


names = st.text(max_size=400) | st.text("./\\ \x00é☃\U0001f3a5", max_size=300)
templates = st.sampled_from(
    [
        "{streamName}",
        "{login}/{streamName}",
        "{streamName}/{time:%Y/%m}/x{streamName}-{endTime}",
        "{sessionId}",
    ]
)


@given(
    names,
    names,
    templates,
    st.sampled_from(NameEncoding),
    st.sampled_from(["", "/", ":.,/", "unamed_"]),
    st.none() | st.integers(1, 10**7),
)
def test_any_name_stays_below_the_folder_in_components_that_fit(
    stream_name: str, login: str, text: str, encoding: NameEncoding, excluded: str, part: int | None
) -> None:
    elements = NameElements(stream_name=stream_name, login=login, session_id=login, start_ns=1, end_ms=5)
    template = NameTemplate.parse(text, encoding=encoding, excluded_characters=excluded)
    name = template.resolve(elements, extension="mp4", part=part)
    components = name.split("/")
    assert len(components) == len(text.split("/"))
    for component in components:
        assert 0 < len(component.encode()) <= NAME_MAX_BYTES
        assert not component.startswith(".")
        assert "\\" not in component
        assert min(component) >= " "
    assert PurePosixPath(name).suffix == ".mp4"
    assert (Path("/records") / name).resolve().is_relative_to("/records")


@given(names, st.integers(0, 300))
def test_truncating_never_cuts_a_character(text: str, size_bytes: int) -> None:
    text = text.encode(errors="replace").decode()
    kept = truncate(text, size_bytes)
    assert text.startswith(kept)
    assert len(kept.encode()) <= size_bytes
    assert kept == text or len(kept.encode()) > size_bytes - 4


@given(names, st.integers(1, 10**6))
def test_every_candidate_fits_and_keeps_the_extension(stream_name: str, part: int) -> None:
    name = name_of("{streamName}", NameElements(stream_name=stream_name), part)
    for numbered in (*islice(candidates(name), 12), *islice(versions(name), 12)):
        assert len(numbered.encode()) <= NAME_MAX_BYTES
        assert numbered.endswith(".mp4")


def test_a_taken_name_gets_the_next_number() -> None:
    assert list(islice(candidates("day/news.mp4"), 3)) == [
        "day/news.mp4",
        "day/news_0001.mp4",
        "day/news_0002.mp4",
    ]


def test_older_versions_are_counted_from_zero() -> None:
    assert list(islice(versions("day.1/news.mp4"), 2)) == ["day.1/news_0.mp4", "day.1/news_1.mp4"]


@pytest.mark.parametrize(
    ("published", "plain"),
    [
        ("mp4:news.mp4", "news"),
        ("MP4:day/news", "day/news"),
        ("flv:news.f4v", "news"),
        ("news.mp4", "news.mp4"),
        ("mp4:", "mp4:"),
        ("mp4:.mp4", ".mp4"),
        ("a:b", "a:b"),
    ],
)
def test_what_flash_clients_say_of_the_file_is_no_part_of_its_name(published: str, plain: str) -> None:
    assert plain_name(published) == plain
