from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.log import ALERT
from mitmproxy.test import taddons

from kimi_mitm import link
from kimi_mitm.views import commands
from kimi_mitm.views.commands import Commands

SESSION = link.LiveSession(
    id="s_0123456789abcdef0123",
    user="alice",
    client="codex",
    provider="openai",
    model="gpt-5",
    requests=12,
    tokens=45_200,
    percent=61.7,
    cost="$0.42",
    current=True,
)
OTHER = link.LiveSession(id="s_ff00", user="bob")


@dataclass
class Engine:
    """Takes what commands ask."""

    asked: list[link.Call] = field(default_factory=list)
    gone: bool = False
    page: str | None = "http://127.0.0.1:8082/"

    def put(self, call: link.Call) -> bool:
        if not self.gone:
            self.asked.append(call)
        return not self.gone


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def addon(engine: Engine) -> Commands:
    return Commands(engine.put, lambda: engine.page)


@pytest.fixture
def run(addon: Commands) -> Iterator[Callable[..., Any]]:
    """Runs a command as mitmproxy's console does, with words."""
    with taddons.context(addon) as context:
        yield lambda name, *words: context.master.commands.call_strings(name, list(words))


@pytest.fixture(autouse=True)
def listening(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
def told(addon: Commands) -> None:
    addon.told(link.State(auto_session=True, sessions=[SESSION, OTHER], live=2))


def answered(addon: Commands, engine: Engine, value: Any = None, error: str | None = None) -> None:
    addon.answered(link.Reply(n=engine.asked[-1].n, value=value, error=error))


@pytest.mark.usefixtures("told")
def test_toggle_tells_what_is_asked_for_and_the_log_what_became_of_it(
    run: Callable[..., Any], addon: Commands, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("kimi.toggle") == "automatic sessions: on → off"
    assert engine.asked[-1].name == "toggle"

    answered(addon, engine, "automatic sessions are off")

    assert caplog.messages == ["kimi.toggle: automatic sessions are off"]


def test_a_refusal_is_a_warning(
    run: Callable[..., Any], addon: Commands, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    run("kimi.toggle")

    answered(addon, engine, error="an admin holds the flag")

    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "kimi.toggle: an admin holds the flag")


def test_before_the_engine_said_anything_toggle_points_to_the_log(run: Callable[..., Any]) -> None:
    assert run("kimi.toggle") == "asked; the answer is in the event log"


@pytest.mark.usefixtures("told")
def test_a_new_session_has_a_name_and_a_user_if_they_are_given(
    run: Callable[..., Any], engine: Engine
) -> None:
    said = run("kimi.session.new", "spike", "bob")

    assert engine.asked[-1].args == {"name": "spike", "user": "bob"}
    assert said.startswith("a new session, after s_01234567 alice/codex")
    run("kimi.session.new")
    assert engine.asked[-1].args == {"name": "", "user": ""}


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(("words", "ended"), [((), SESSION.id), (("s_ff",), OTHER.id)])
def test_a_session_is_ended_by_the_start_of_its_id(
    run: Callable[..., Any], engine: Engine, words: tuple[str, ...], ended: str
) -> None:
    assert run("kimi.session.end", *words).startswith("ending s_")
    assert engine.asked[-1].args == {"session": ended}


@pytest.mark.usefixtures("told")
def test_a_session_that_is_not_there_is_not_ended(run: Callable[..., Any], engine: Engine) -> None:
    assert run("kimi.session.end", "s_77") == "there is no such live session"
    assert engine.asked == []


@pytest.mark.usefixtures("told")
def test_sessions_are_told_at_once(run: Callable[..., Any], engine: Engine) -> None:
    assert run("kimi.sessions").splitlines() == [
        "s_01234567 alice/codex · gpt-5 · 12 exchanges · 45.2k in · 62 % · $0.42 · current",
        "s_ff00 bob/any client · 0 exchanges",
    ]
    assert engine.asked == []


def test_more_sessions_than_are_told_are_counted(run: Callable[..., Any], addon: Commands) -> None:
    addon.told(link.State(auto_session=True, sessions=[OTHER], live=51))
    assert run("kimi.sessions").splitlines()[-1] == "and 50 more"

    addon.told(link.State(auto_session=True))
    assert run("kimi.sessions") == "no live session"


def test_stats_come_in_the_log_line_by_line(
    run: Callable[..., Any], addon: Commands, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("kimi.stats") == "asked; the answer is in the event log"

    answered(addon, engine, "all: 2 exchanges\ngpt-5: 2 exchanges")

    assert caplog.messages == ["kimi.stats: all: 2 exchanges", "kimi.stats: gpt-5: 2 exchanges"]
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_in_the_console_answers_are_shown_in_the_bottom_line(
    addon: Commands, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    class ConsoleAddon:
        pass

    with taddons.context(addon, ConsoleAddon()) as context:
        context.master.commands.call_strings("kimi.stats", [])
        answered(addon, engine, "all: 2 exchanges")

    assert caplog.records[0].levelno == ALERT


def test_an_export_goes_to_a_file_seen_from_here(
    run: Callable[..., Any], engine: Engine, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run("kimi.export", "out.csv") == f"writing {tmp_path}/out.csv; see the event log"
    assert engine.asked[-1].args == {"path": f"{tmp_path}/out.csv"}


async def test_the_page_is_opened_and_its_address_told(
    run: Callable[..., Any], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(commands, "_browse", opened.append)

    assert run("kimi.open") == "http://127.0.0.1:8082/"
    assert opened == ["http://127.0.0.1:8082/"]
    engine.page = None
    assert run("kimi.open") == "the control endpoint is off (see kimi_control)"


@pytest.mark.parametrize(
    "words", [("toggle",), ("session.new",), ("session.end",), ("sessions",), ("stats",), ("export", "x")]
)
def test_without_an_engine_commands_say_so(run: Callable[..., Any], engine: Engine, words: Any) -> None:
    engine.gone = True

    assert run(f"kimi.{words[0]}", *words[1:]) == "kimi is not running"


def test_answers_to_nobody_are_dropped(addon: Commands, caplog: pytest.LogCaptureFixture) -> None:
    addon.answered(link.Reply(n=77, value="x"))

    assert caplog.messages == []


def test_a_browser_in_the_terminal_is_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(name: str) -> None:
        raise commands.webbrowser.Error

    monkeypatch.setattr(commands.webbrowser, "get", none)

    commands._browse("http://127.0.0.1:1/")

    assert caplog.messages == ["kimi.open: no browser found; open http://127.0.0.1:1/"]


def test_every_command_is_in_the_docs(addon: Commands) -> None:
    docs = (Path(__file__).parents[1] / "docs" / "mitmproxy.md").read_text(encoding="utf-8")
    with taddons.context(addon) as context:
        names = [name for name in context.master.commands.commands if name.startswith("kimi.")]

    assert len(names) == 7
    assert [name for name in names if f"`{name}" not in docs] == []
