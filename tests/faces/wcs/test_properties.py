"""flashphoner.properties: every property that has to do with recordings, and what we make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aircheck.errors import ConfigError
from aircheck.faces.wcs.java_properties import parse_properties
from aircheck.faces.wcs.properties import KNOWN, ImportedSettings, read_flashphoner_properties, translate
from aircheck.settings import Settings

FILE = "flashphoner.properties"
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "flashphoner.md"

REAL_LOOKING = r"""
#server ip
ip                 =203.0.113.10
ip_local           =10.0.0.5
#webrtc ports range
media_port_from        =31001
media_port_to          =32000
#codecs
codecs                 =opus,alaw,ulaw,g729,speex16,g722,mpeg4-generic,telephone-event,h264,vp8,flv,mpv
codecs_exclude_sip     =mpeg4-generic,flv,mpv
#websocket ports
ws.port                =8080
wss.port               =8443
record_streams         =true
record_flash_published_streams=true
stream_record_policy_template={streamName}-{startTime}-{endTime}
record_rotation = 20
on_record_hook_script  =/bin/true
record_dir=/mnt/records
mp4_container_moov_first_reserve_space=true
record_response_content_disposition_header_value=attachment
record_fdk_aac_bitrate_mode=5
"""


def imported(text: str, formats: tuple[str, ...] = ("mp4", "webm", "ts", "mkv")) -> ImportedSettings:
    return translate(parse_properties(text.encode()), FILE, formats=formats)


def test_a_whole_file_is_taken_over() -> None:
    found = imported(REAL_LOOKING)
    assert found.values == {
        "record": {
            "enabled": True,
            "rtmp_streams": True,
            "name": "{streamName}-{startTime}-{endTime}",
            "rotation": "20",
            "dir": "/mnt/records",
            "reserve_kb": 2048,
            "audio_bitrate_mode": 5,
        },
        "hooks": {"on_record": "/bin/true"},
        "http": {"disposition": "attachment"},
    }
    assert found.others[:3] == ("ip", "ip_local", "media_port_from")
    assert len(found.others) == 8
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("record_streams=true", {"record": {"enabled": True}}),
        ("record_streams=FALSE", {"record": {"enabled": False}}),
        ("record_streams=", {}),
        ("record_flash_published_streams=true", {"record": {"rtmp_streams": True}}),
        ("record_flash_published_streams=false", {"record": {"rtmp_streams": False}}),
        ("record_streams=false", {"record": {"enabled": False}}),
        (
            "record_streams=true\nrecord_flash_published_streams=false",
            {"record": {"enabled": True, "rtmp_streams": False}},
        ),
        ("disable_rest_requests=false", {}),
        ("record_rtsp_streams=true", {}),
        ("record_h264_to_ts=true", {"record": {"format": "ts", "formats": {"vp8": "webm"}}}),
        ("record_h264_to_ts=false", {}),
        ("record_formats=h264-mkv", {"record": {"format": "mkv", "formats": {"vp8": "webm"}}}),
        (
            "record_formats=h264-mp4,vp8-mkv",
            {"record": {"format": "mp4", "formats": {"vp8": "mkv"}}},
        ),
        (
            "record_formats=h264-mkv,vp8-webm",
            {"record": {"format": "mkv", "formats": {"vp8": "webm"}}},
        ),
        ("record_formats=h264-mp4,vp8-webm", {"record": {"format": "mp4"}}),
        ("stream_record_policy=streamName", {"record": {"name": "{streamName}"}}),
        ("stream_record_policy=template", {}),
        (
            "stream_record_policy=streamName\nstream_record_policy_template={login}",
            {"record": {"name": "{streamName}"}},
        ),
        (
            "stream_record_policy_template={streamName}-{mediaSessionId}",
            {"record": {"name": "{streamName}-{mediaSessionId}"}},
        ),
        ("encode_record_name=true,HEX", {"record": {"name_encoding": "hex"}}),
        ("encode_record_name=false", {}),
        (r"exclude_record_name_characters=\:.,/", {"record": {"name_exclude_characters": ":.,/"}}),
        ("exclude_record_name_characters=:.,/", {"record": {"name_exclude_characters": ":.,/"}}),
        ("exclude_record_name_characters=", {"record": {"name_exclude_characters": ""}}),
        ("record_rotation=20", {"record": {"rotation": "20"}}),
        ("record_rotation=10M", {"record": {"rotation": "10M"}}),
        ("record_rotation=disabled", {"record": {"rotation": "disabled"}}),
        ("record_rotation_index_enabled=false", {"record": {"rotation_index": False}}),
        ("on_record_hook_script=/bin/true", {"hooks": {"on_record": "/bin/true"}}),
        ("on_multiple_record_hook_script=/bin/true", {"hooks": {"on_multiple_record": "/bin/true"}}),
        ("record_stop_timeout=20", {"record": {"stop_timeout_s": 20}}),
        ("record_dir=/mnt/x", {"record": {"dir": "/mnt/x"}}),
        ("record_tmp_dir=/mnt/ram", {"record": {"tmp_dir": "/mnt/ram"}}),
        ("mp4_cutter_dir=/tmp", {"clips": {"dir": "/tmp"}}),
        ("record_dir=/mnt/x\nmp4_cutter_dir=/mnt/x/", {"record": {"dir": "/mnt/x"}}),
        ("mp4_container_moov_first=true", {}),
        ("mp4_container_moov_first_reserve_space=true", {"record": {"reserve_kb": 2048}}),
        ("mp4_container_moov_first_reserve_space=false", {}),
        ("mp4_container_moov_reserved_space_size=512", {}),
        (
            "mp4_container_moov_first_reserve_space=true\nmp4_container_moov_reserved_space_size=512",
            {"record": {"reserve_kb": 512}},
        ),
        ("record_response_content_disposition_header_value=inline", {"http": {"disposition": "inline"}}),
        ("record_audio_codec_sample_rate=48000", {"record": {"audio_sample_rate": 48_000}}),
        ("record_audio_codec_channels=1", {"record": {"audio_channels": 1}}),
        ("record_fdk_aac_bitrate_mode=0", {"record": {"audio_bitrate_mode": 0}}),
    ],
)
def test_a_property_becomes_a_setting(text: str, expected: dict[str, dict[str, object]]) -> None:
    found = imported(text)
    assert found.values == expected
    assert found.warnings == ()
    assert found.others == ()
    # What our own settings take is what they are given.
    Settings(**imported(text, formats=("mp4",)).values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected", "warning"),
    [
        ("disable_rest_requests=true", {}, "nobody is asked"),
        (
            "rest_hook_send_hash=true\nrest_hook_secret_key=1234567890",
            {"backend_hooks": {"secret": "1234567890"}},
            "set [backend_hooks] url",
        ),
        ("rest_hook_secret_key=1234567890", {}, "set [backend_hooks] url"),
        ("rest_request_timeout=5", {"backend_hooks": {"timeout_s": 5}}, "set [backend_hooks] url"),
        ("record_rtsp_streams=false", {}, "are recorded like all others"),
        (
            "record_formats=h264-mp4,vp8-ts",
            {"record": {"format": "mp4"}},
            "vp8 is recorded to webm, not to ts",
        ),
        ("encode_record_name=true, BASE64", {"record": {"name_encoding": "base64"}}, "URL-safe"),
        (
            "stream_record_policy_template=a/{streamName}",
            {"record": {"name": "a{streamName}"}},
            "slashes are left out",
        ),
        ("record_tmp_dir=records", {}, "hidden folder of record_dir"),
        ("record_dir=/mnt/x\nrecord_tmp_dir=/mnt/x/", {"record": {"dir": "/mnt/x"}}, "hidden folder"),
        ("record_dir=films", {"record": {"dir": "films"}}, "the server is started in"),
        ("on_record_hook_script=/no/such", {"hooks": {"on_record": "/no/such"}}, "files wait for it"),
        ("mp4_container_moov_first=false", {}, "moov always comes first"),
        ("on_multiple_record_hook_script=/x", {"hooks": {"on_multiple_record": "/x"}}, "files wait for it"),
        ("record_audio_buffer_max_size=100", {}, "not needed: start, end and duration"),
        ("file_recorder_thread_pool_max_size=4", {}, "not needed: each disk has one writer thread"),
        ("webm_java_writer_enable=true", {}, "not needed: there is one writer of WebM"),
        ("webm_cluster_duration_limit=100000", {}, "not needed: the writer chooses"),
        ("webm_cluster_size_limit=131072", {}, "not needed: the writer chooses"),
    ],
)
def test_what_cannot_be_kept_is_told_with_what_happens_instead(
    text: str, expected: dict[str, dict[str, object]], warning: str
) -> None:
    found = imported(text)
    assert found.values == expected
    (told,) = found.warnings
    line = len(text.splitlines())
    assert told.startswith(f"{FILE}:{line}: {text.splitlines()[-1].partition('=')[0]}: ")
    assert warning in told


def test_a_container_that_is_not_written_is_told() -> None:
    found = imported("record_h264_to_ts=true", formats=("mp4",))
    assert found.values == {"record": {"format": "mp4"}}
    assert found.warnings == (f"{FILE}:1: record_h264_to_ts: h264 is recorded to mp4, not to ts",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("record_streams=yes", "neither true nor false"),
        ("record_rotation=20s", "no rotation"),
        ("record_formats=h264", "CODEC-CONTAINER"),
        ("stream_record_policy=random", "neither streamName nor template"),
        ("stream_record_policy_template={stream}", 'unknown element "{stream}"'),
        ("encode_record_name=true", "true,HEX or true,BASE64"),
        ("mp4_container_moov_reserved_space_size=2M", "no whole number"),
        ("record_response_content_disposition_header_value=save", "neither inline nor attachment"),
        ("record_audio_codec_sample_rate=44000", "none of 7350, 8000"),
        ("record_audio_codec_channels=3", "none of 1, 2"),
    ],
)
def test_a_value_that_means_nothing_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"{FILE}:2: {text.partition('=')[0]}: ") as refused:
        imported(f"# first\n{text}")
    assert why in refused.value.message


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        imported("record_streams=1\nrecord_rotation=x")
    assert len(refused.value.message.splitlines()) == 2


def test_the_last_of_a_name_counts() -> None:
    assert imported("record_rotation=5\nrecord_rotation=7").values == {"record": {"rotation": "7"}}


def test_slashes_make_folders_where_they_are_not_excluded() -> None:
    found = imported("exclude_record_name_characters=:\nstream_record_policy_template=a/{login}")
    assert found.values["record"]["name"] == "a/{login}"
    assert "make folders" in found.warnings[0]


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / FILE
    broken.write_bytes(rb"record_dir=\usr")
    for path, message in ((tmp_path / "missing", "cannot be read"), (broken, f"{FILE}:1: ")):
        with pytest.raises(ConfigError, match=message):
            read_flashphoner_properties(path, formats=("mp4",))


def test_every_property_is_in_the_manual() -> None:
    page = PAGE.read_text()
    assert [name for name in sorted(KNOWN) if f"`{name}`" not in page] == []
