"""Settings: read from a file and the environment, refused with place and remedy, all of them documented."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from aircheck.recording.naming import NameEncoding
from aircheck.recording.rotation import RotationRule, format_rotation, parse_rotation
from aircheck.recording.zones import format_zone, parse_zone
from aircheck.settings import Listen, Settings, SettingsError, load_settings
from aircheck.settings.load import environment_variable, line_of, sections
from aircheck.settings.reference import reference_page, unit_of

REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
SOURCES = Path(__file__).parents[1] / "src" / "aircheck"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and an environment that says nothing to us."""
    for name in [name for name in os.environ if name.upper().startswith("AIRCHECK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(toml: str) -> Settings:
    path = Path("server.toml")
    path.write_text(toml, encoding="utf-8")
    return load_settings(path)


def refusal(toml: str) -> SettingsError:
    with pytest.raises(SettingsError) as refused:
        load(toml)
    return refused.value


def test_without_a_file_everything_has_a_default() -> None:
    settings = load_settings()
    assert settings.rtmp.listen == Listen("127.0.0.1", 1935)
    assert settings.rtmps.listen is None
    assert settings.access.is_open
    assert settings.catalog_path == Path("records/.aircheck/aircheck.db")
    assert settings.record.growing_dir == Path("records/.aircheck/growing")


def test_the_file_is_read() -> None:
    settings = load(
        """
        [rtmp]
        listen = "[::]:2935"
        max_message_bytes = "4MiB"
        [record]
        dir = "/media/records"
        tmp_dir = "/fast"
        name = "{streamName}/{time:%Y%m%d-%H%M%S}"
        name_encoding = "hex"
        rotation = "20M"
        [access]
        publish_users = { Studio = "geheim" }
        publish_keys = ["abc"]
        """
    )
    assert settings.rtmp.listen == Listen("::", 2935)
    assert settings.rtmp.max_message_bytes == 4 * 1024 * 1024
    assert settings.record.growing_dir == Path("/fast")
    assert settings.record.name_encoding is NameEncoding.HEX
    assert settings.record.rotation == RotationRule(size_bytes=20_000_000)
    assert settings.access.publish_users["Studio"].get_secret_value() == "geheim"
    assert not settings.access.is_open


def test_a_file_beside_the_server_is_found_and_one_named_by_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("aircheck.toml").write_text("[log]\nlevel = 'debug'\n")
    assert load_settings().log.level == "debug"
    Path("other.toml").write_text("[log]\nlevel = 'error'\n")
    monkeypatch.setenv("AIRCHECK_CONFIG", "other.toml")
    assert load_settings().log.level == "error"


def test_the_environment_wins_over_the_file_setting_by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRCHECK_RECORD__ROTATION", "20")
    monkeypatch.setenv("AIRCHECK_RECORD__ENABLED", "no")
    monkeypatch.setenv("AIRCHECK_RTMP__LISTEN", "0.0.0.0:1936")
    monkeypatch.setenv("AIRCHECK_ACCESS__PUBLISH_USERS", '{"Studio": "x"}')
    settings = load("[record]\nrotation = '5'\nreserve_kb = 64\n")
    assert settings.record.rotation == RotationRule(duration_ms=20_000)
    assert not settings.record.enabled
    assert settings.record.reserve_kb == 64
    assert settings.rtmp.listen == Listen("0.0.0.0", 1936)
    assert list(settings.access.publish_users) == ["Studio"]


def test_settings_cannot_be_changed_once_read() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.record.enabled = False  # type: ignore[misc]


def test_a_host_moves_every_listener_that_is_on_and_keeps_the_ports() -> None:
    settings = load("[rtmps]\nlisten = '127.0.0.1:443'\ncert = 'c.pem'\nkey = 'k.pem'\n").with_host("::")
    listeners = (settings.rtmp, settings.rtmps, settings.http, settings.https)
    assert [str(each.listen) for each in listeners] == ["[::]:1935", "[::]:443", "[::]:8081", "[::]:8444"]
    assert load_settings().with_host("0.0.0.0").rtmps.listen is None


def test_rtmps_has_the_certificate_of_all_unless_it_has_its_own() -> None:
    shared = "[tls]\ncert = 'c.pem'\nkey = 'k.pem'\n[rtmps]\nlisten = ':443'\n"
    assert load(shared).rtmps_certificate == (Path("c.pem"), Path("k.pem"))
    own = load(f"{shared}cert = 'own.pem'\nkey = 'own-key.pem'\n")
    assert own.rtmps_certificate == (Path("own.pem"), Path("own-key.pem"))
    assert own.certificate == (Path("c.pem"), Path("k.pem"))


@pytest.mark.parametrize(
    ("toml", "line", "message", "remedy"),
    [
        ("[rtmp]\nlissten = ':1'", 2, "unknown setting rtmp.lissten", "Did you mean listen?"),
        ("[pumpe]\n", 1, "unknown setting pumpe", "Did you mean pump?"),
        ("[record]\n\ninterval_ms = 5", 3, "unknown setting record.interval_ms", "belongs to [pump]"),
        ("[record]\nzzz = 5", 2, "unknown setting record.zzz", "Known in [record]: enabled, dir"),
        ("record.zzz = 5", 1, "unknown setting record.zzz", "Known in [record]"),
        ("[rtmp]\nlisten = '1935'", 2, "is not ADDRESS:PORT", '"127.0.0.1:1935" when it is left out'),
        ("[rtmp]\nlisten = '::1:1935'", 2, "stands in brackets", "listen is"),
        ("[rtmp]\nlisten = ':99999'", 2, "is not ADDRESS:PORT", "listen is"),
        ("[rtmp]\nmax_connections = 0", 2, "(it is 0)", "2000 when it is left out"),
        ("[record]\nrotation = '20X'", 2, "is no rotation", "disabled"),
        ("[record]\nrotation = true", 2, "rotation", "disabled"),
        ("[record]\nname = '{a}'", 2, 'unknown element "{a}"', "name is"),
        ("[record]\nformat = 'avi'", 2, "'mp4'", '"mp4" when it is left out'),
        ("[log]\nlevel = 'loud'", 2, "'debug', 'info', 'warning' or 'error'", '"info" when it is left out'),
        ("[record]\ntmp_dir = 'a/../records'", 1, "tmp_dir is dir itself", ""),
        ("[record]\nrotation_aligned = true", 1, "needs a rotation by time", ""),
        ("[record]\nrotation = '9M'\nrotation_aligned = true", 1, "needs a rotation by time", ""),
        ("[record]\nrotation_zone = '2'", 2, "is no time zone", '"UTC" when it is left out'),
        ("[record]\non_conflict = 'add'", 2, "'version', 'append' or 'append_with_gap'", "left out"),
        ("rtmp = 5", 1, "rtmp is a table", "Write [rtmp]"),
        ("[rtmps]\nlisten = ':443'", 2, "RTMPS needs a certificate", "`aircheck cert`"),
        ("[rtmps]\nlisten = ':443'\ncert = 'c.pem'", 1, "set both cert and key", ""),
        ("[tls]\nkey = 'k.pem'", 1, "set both cert and key", ""),
        ("[rtmp]\n\nlisten = :1", 3, "is not TOML", "quotation marks"),
        ("[rtmp]\nlisten = ':1'\n[rtmp]", 3, "is not TOML", "below the one that is there"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line_and_a_remedy(
    toml: str, line: int, message: str, remedy: str
) -> None:
    (problem,) = refusal(toml).problems
    assert problem.where == f"server.toml:{line}"
    assert message in problem.message
    assert remedy in problem.remedy


def test_every_problem_is_told_at_once() -> None:
    error = refusal("[rtmp]\nx = 1\n[log]\nlevel = 'x'\n")
    assert [problem.where for problem in error.problems] == ["server.toml:2", "server.toml:4"]
    assert "server.toml:2" in error.message
    assert error.remedy


@pytest.mark.parametrize(
    ("name", "value", "message", "remedy"),
    [
        ("AIRCHECK_RTMP__LISTE", ":1", "is no setting", "Did you mean AIRCHECK_RTMP__LISTEN?"),
        ("AIRCHECK_NONSENSE", "1", "is no setting", "Unset it."),
        ("AIRCHECK_ACCESS__PUBLISH_KEYS", "abc", "is not JSON", '["a", "b"]'),
        ("AIRCHECK_RTMPS__LISTEN", ":443", "RTMPS needs a certificate", "`aircheck cert`"),
        ("AIRCHECK_LOG__LEVEL", "loud", "log.level", '"info" when it is left out'),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)
    (problem,) = refusal("[log]\nlevel = 'info'\n").problems
    assert problem.where == name
    assert message in problem.message
    assert remedy in problem.remedy


def test_a_refused_secret_is_not_repeated() -> None:
    assert "1234" not in str(refusal("[access]\npublish_users = { a = 1234 }"))
    assert "geheim" not in str(load("[access]\npublish_tokens = ['geheim']"))


def test_a_file_that_cannot_be_read_is_refused_by_its_name() -> None:
    for name, content in (("missing.toml", None), ("latin.toml", "ä".encode("latin-1"))):
        if content is not None:
            Path(name).write_bytes(content)
        with pytest.raises(SettingsError, match=name):
            load_settings(Path(name))


def test_a_key_is_found_in_its_table_however_it_is_written() -> None:
    text = "a.b = 1\n[rtmp]\n# listen = 3\nidle = 1\n[http] # web\n  'listen' = 2\n[x.y]\nz = 1\n"
    assert line_of(text, ("a", "b")) == 1
    assert line_of(text, ("rtmp", "listen")) == 2
    assert line_of(text, ("http", "listen")) == 6
    assert line_of(text, ("x", "y", "z")) == 8
    assert line_of(text, ("nowhere",)) is None


@pytest.mark.parametrize("text", ["127.0.0.1:1935", "[::1]:0", ":80", "studio.example:65535"])
def test_an_address_reads_what_it_writes(text: str) -> None:
    assert str(Listen.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("20", RotationRule(duration_ms=20_000)),
        ("20M", RotationRule(size_bytes=20_000_000)),
        ("disabled", RotationRule()),
    ],
)
def test_a_rotation_reads_what_it_writes(text: str, rule: RotationRule) -> None:
    assert parse_rotation(text) == rule
    assert format_rotation(rule) == text


@pytest.mark.parametrize("text", ["UTC", "local", "+05:45", "-03:30", "Europe/Paris"])
def test_a_zone_reads_what_it_writes(text: str) -> None:
    assert format_zone(parse_zone(text)) == text


@pytest.mark.parametrize("text", ["0", "-5", "20 M", "20m", "M", "1.5"])
def test_a_rotation_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no rotation"):
        parse_rotation(text)


def test_the_reference_page_is_what_the_program_prints() -> None:
    assert REFERENCE.read_text() == reference_page(), (
        "run: python -m aircheck.settings > docs/reference/settings.md"
    )


def test_every_setting_is_documented_with_its_consequence() -> None:
    page = reference_page()
    for section, model in sections():
        for key, field in model.model_fields.items():
            assert field.description, f"{section}.{key}"
            assert len(field.description) > 25, f"{section}.{key}"
            assert environment_variable(section, key) in page


def test_units_are_told_by_names() -> None:
    assert unit_of("interval_ms") == "milliseconds"
    assert unit_of("timeout_s") == "seconds"
    assert unit_of("listen") == ""


def test_every_setting_has_an_effect() -> None:
    """A setting that no code reads would be a lie."""
    readers = [path for path in SOURCES.rglob("*.py") if "settings" not in path.parts]
    code = "\n".join(path.read_text() for path in readers)
    properties = {"tmp_dir": "growing_dir", "path": "catalog_path", "publish_users": "publish_users"}
    keys = [properties.get(key, key) for _, model in sections() for key in model.model_fields]
    assert [key for key in keys if f".{key}" not in code] == []
