"""What users set reaches the recorder, from wherever, and what is wrong stops the start."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from mitmproxy.addonmanager import Loader
from mitmproxy.exceptions import OptionsError
from mitmproxy.optmanager import OptManager
from rig.command import mitmdump

from kimi_mitm import options
from kimi_mitm.logs import SOURCES
from kimi_mitm.settings import Settings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in [o.variable for o in options.OPTIONS] + ["KIMI_HOSTS"]:
        monkeypatch.delenv(name, raising=False)


def declared(*sets: str, **from_file: object) -> tuple[OptManager, list[str]]:
    """mitmproxy's options after `--set` and a config file were read and the script was loaded."""
    manager = OptManager()
    manager.update_defer(**from_file)
    manager.set(*sets, defer=True)
    problems = options.declare(Loader(SimpleNamespace(options=manager)))
    manager.process_deferred()
    return manager, problems


def settings(*sets: str, **from_file: object) -> Settings:
    manager, problems = declared(*sets, **from_file)
    assert problems == []
    return options.read(manager)


def test_defaults_are_the_documented_ones():
    made = settings()

    assert made.control == ("127.0.0.1", 8082)
    assert (made.session_timeout, made.session_check_interval) == (300, 30)
    assert (made.auto_session, made.auto_session_policy, made.session_by) == (True, "smart", "auto")
    assert (made.store_content, made.lean, made.intercept_all, made.archive_on_disconnect) == (
        True,
        False,
        False,
        False,
    )
    assert made.logs == ("auto",)
    assert made.hosts == ()
    assert made.db.endswith("kimi.db")
    assert Path(made.archive_dir).name == "users"
    assert made.logs_home == str(Path.home())


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ("kimi_lean=true", "lean", True),
        ("kimi_lean", "lean", True),
        ("kimi_auto_session=off", "auto_session", False),
        ("kimi_session_timeout=0.5", "session_timeout", 0.5),
        ("kimi_control=", "control", None),
        ("kimi_control=8090", "control", ("127.0.0.1", 8090)),
        ("kimi_control=[::1]:0", "control", ("::1", 0)),
        ("kimi_control=localhost:1", "control", ("localhost", 1)),
        ("kimi_logs=off", "logs", ("off",)),
        ("kimi_logs=claude-code, codex", "logs", ("claude-code", "codex")),
        ("kimi_session_by=exchange", "session_by", "exchange"),
        (r"kimi_hosts=\.corp$", "hosts", (r"\.corp$",)),
        ("kimi_archive_dir=~/x", "archive_dir", str(Path.home() / "x")),
    ],
)
def test_set_gives_a_setting(given, field, value):
    assert getattr(settings(given), field) == value


def test_hosts_may_be_given_several_times():
    assert settings("kimi_hosts=a", "kimi_hosts=b").hosts == ("a", "b")


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"kimi_session_timeout": 60}, "session_timeout", 60),
        ({"kimi_session_timeout": 0.25}, "session_timeout", 0.25),
        ({"kimi_lean": True}, "lean", True),
        ({"kimi_auto_session": False}, "auto_session", False),
        ({"kimi_control": 8090}, "control", ("127.0.0.1", 8090)),
        ({"kimi_control": None}, "control", None),
        ({"kimi_hosts": "one"}, "hosts", ("one",)),
        ({"kimi_hosts": ["one", "two"]}, "hosts", ("one", "two")),
        ({"kimi_hosts": None}, "hosts", ()),
        ({"kimi_logs": ["codex", "claude-code"]}, "logs", ("codex", "claude-code")),
        ({"kimi_control_token": 12345}, "control_token", "12345"),
    ],
)
def test_a_config_files_own_types_are_taken(given, field, value):
    assert getattr(settings(**given), field) == value


def test_set_wins_over_file_and_variable(monkeypatch):
    monkeypatch.setenv("KIMI_SESSION_TIMEOUT", "10")

    assert settings().session_timeout == 10
    assert settings(kimi_session_timeout=20).session_timeout == 20
    assert settings("kimi_session_timeout=30", kimi_session_timeout=20).session_timeout == 30


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("KIMI_LEAN", "1", "lean", True),
        ("KIMI_LEAN", "", "lean", False),
        ("KIMI_SESSION_TIMEOUT", "", "session_timeout", 300),
        ("KIMI_SESSION_BY", "", "session_by", "auto"),
        ("KIMI_CONTROL", "", "control", None),
        ("KIMI_HOSTS", r"a\.b, c", "hosts", (r"a\.b", "c")),
    ],
)
def test_a_variable_gives_a_setting_and_an_empty_one_none(monkeypatch, variable, text, field, value):
    monkeypatch.setenv(variable, text)

    assert getattr(settings(), field) == value


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("kimi_session_timeout=abc", "seconds"),
        ("kimi_session_timeout=0", "seconds"),
        ("kimi_session_timeout=-1", "seconds"),
        ("kimi_session_timeout=nan", "seconds"),
        ("kimi_session_timeout=inf", "seconds"),
        ("kimi_session_timeout", "seconds"),
        ("kimi_lean=maybe", "true or false"),
        ("kimi_auto_session_policy=clever", "smart"),
        ("kimi_session_by=colour", "provider"),
        ("kimi_control=here", "address"),
        ("kimi_control=127.0.0.1:99999", "address"),
        ("kimi_control=127.0.0.1:" + "9" * 5000, "address"),
        ("kimi_control=a b:1", "address"),
        ("kimi_control=0.0.0.0:8082", "kimi_control_token"),
        ("kimi_control=192.168.1.2:8082", "kimi_control_token"),
        ("kimi_control=[::]:8082", "kimi_control_token"),
        ("kimi_control=host.example:8082", "kimi_control_token"),
        ("kimi_hosts=(", "regular expression"),
        ("kimi_logs=nosuch", "claude-code"),
        ("kimi_logs=codex,nosuch", "claude-code"),
        ("kimi_archive_dir=~no-such-user-here/x", "folder"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_the_option(given, word):
    manager, problems = declared(given)
    assert problems == []

    with pytest.raises(OptionsError) as refused:
        options.read(manager)

    line = str(refused.value)
    assert line.startswith(given.partition("=")[0])
    assert word in line
    assert "\n" not in line


def test_off_loopback_is_allowed_with_a_token():
    assert settings("kimi_control=0.0.0.0:1", "kimi_control_token=x").control == ("0.0.0.0", 1)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["kimi_sesion_by=auto"], "kimi_sesion_by: there is no such option, did you mean kimi_session_by?"),
        (["kimi_zzz=1"], "kimi_zzz: there is no such option"),
        (["kimi_lean=true", "kimi_lean=false"], "kimi_lean: is given 2 times"),
    ],
)
def test_what_mitmproxy_would_pass_over_is_a_problem(given, line):
    manager, problems = declared(*given)

    assert problems == [line]
    options.read(manager)


def test_other_scripts_deferred_options_are_left_alone():
    manager, problems = declared("other_option=1")

    assert problems == []
    assert set(manager.deferred) == {"other_option"}


def test_every_log_source_may_be_named():
    for source in SOURCES:
        assert settings(f"kimi_logs={source.name}").logs == (source.name,)
        assert settings(f"kimi_logs={source.client}").logs == (source.client,)


def test_every_option_has_a_help_of_one_line():
    for option in options.OPTIONS:
        assert re.fullmatch(r"[A-Z].+\.", option.help)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--set", "kimi_session_timeout=abc"], "kimi_session_timeout: must be a positive number"),
        (["--set", "kimi_control=0.0.0.0:1"], "kimi_control_token must be set"),
        (["--set", "kimi_nope=1", "--set", "kimi_lean=1", "--set", "kimi_lean=0"], "kimi_nope: there is no"),
    ],
)
async def test_a_real_mitmdump_does_not_start_on_a_wrong_option(tmp_path, confdir, arguments, line):
    async with mitmdump(tmp_path, confdir, *arguments) as one:
        code = await one.ended()

    assert code == 1
    assert len([said for said in one.lines if line in said]) == 1
    assert "Traceback" not in one.text
    assert not (tmp_path / "kimi.db").exists()


async def test_a_real_mitmdump_takes_its_config_file(tmp_path, confdir):
    own = tmp_path / "conf"
    own.mkdir()
    for path in confdir.glob("mitmproxy-ca*"):
        (own / path.name).write_bytes(path.read_bytes())
    (own / "config.yaml").write_text(
        "kimi_session_timeout: 60\nkimi_lean: true\nkimi_hosts: [llm.example.org]\nkimi_control:\n"
        f"kimi_db: {tmp_path / 'other.db'}\n"
    )
    empty = tmp_path / "empty.mitm"
    empty.write_bytes(b"")

    async with mitmdump(tmp_path, own, "-nr", str(empty)) as one:
        code = await one.ended()

    assert code == 0, one.text
    assert "active" in one.text
    assert (tmp_path / "other.db").exists()
