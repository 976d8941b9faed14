"""Archives: where they lie, what they say, and that none is lost or overwritten."""

from __future__ import annotations

import io
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from kimi_mitm.archive import files as archive
from kimi_mitm.archive.document import document
from kimi_mitm.archive.names import folder_name
from kimi_mitm.records import EstimateKind, Exchange, Message, Part, PartKind, Problem, Source
from kimi_mitm.sessions.record import EndReason, Kind, Session, Status
from kimi_mitm.sessions.stats import NO_FIGURES

START = datetime(2026, 3, 1, 12, 0, 30, 250000, UTC)
KEY = "sk-ant-api03-" + "abcDEF0123456789" * 5


def said(role, text, digest="d", kind=PartKind.TEXT, **known):
    return Message(role=role, parts=(Part(kind=kind, text=text, **known),), digest=digest)


def an_exchange(number=1, **known):
    figures = {
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "estimated_input_tokens": 100,
        "estimate_kind": EstimateKind.CALIBRATED,
        "input_tokens": 104,
        "output_tokens": 20,
        "total_tokens": 124,
        "is_estimated": False,
        "source": Source.USAGE,
        "cost_usd": Decimal("0.00123"),
    }
    at = START + timedelta(seconds=number)
    return Exchange(id=f"x{number}", started_at=at, session_id="s1", **{**figures, **known})


EXCHANGES = [an_exchange(1), an_exchange(2)]
TRANSCRIPT = [
    (said("system", "You are a help.\nBe brief."), "x1"),
    (said("user", "Hello"), "x1"),
    (said("assistant", "Hello!\n\n  - indented\n"), "x2"),
    (said("assistant", '{"command": "ls"}', kind=PartKind.TOOL_CALL, name="Bash"), "x2"),
    (
        Message(
            role="user",
            parts=(
                Part(kind=PartKind.TEXT, text="Look"),
                Part(kind=PartKind.IMAGE, mime="image/png", width=640, height=480, size=1234),
            ),
            digest="d",
        ),
        "x2",
    ),
]


def a_session(user="alice", **known):
    stats = NO_FIGURES
    for exchange in EXCHANGES:
        stats = stats.with_exchange(exchange)
    defaults = {
        "session_id": "s1",
        "scope": "line",
        "client": "claude-code",
        "status": Status.ENDED,
        "kind": Kind.ONE_SHOT,
        "end_reason": EndReason.TIMEOUT,
        "ended_at": START,
        "stats": stats,
    }
    return Session(user=user, started_at=START, last_activity_at=START, **{**defaults, **known})


def load(text):
    return YAML(typ="safe", pure=True).load(io.StringIO(text))


def test_an_archive_has_its_place_and_says_who_what_and_how_much(tmp_path):
    path = archive.write(tmp_path, a_session(), TRANSCRIPT, EXCHANGES)

    assert path == tmp_path / "alice" / "dialogs" / "archived" / "2026-03-01-12-00-30.yaml"
    assert archive.archive_id(path) == "alice/2026-03-01-12-00-30"
    read = load(path.read_text("utf-8"))
    assert (read["session_id"], read["user"], read["kind"], read["end_reason"]) == (
        "s1",
        "alice",
        "one_shot",
        "timeout",
    )
    assert read["figures"]["total_prompt_tokens"] == 208
    assert read["figures"]["cost_usd"] == "0.00246"
    first, second = read["turns"]
    assert first["input_tokens"] == 104
    assert first["source"] == "usage"
    assert first["estimate_kind"] == "calibrated"
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert second["messages"] == [
        {"role": "assistant", "text": "Hello!\n\n  - indented\n"},
        {"role": "assistant", "tool_call": "Bash", "arguments": '{"command": "ls"}'},
        {"role": "user", "parts": [{"text": "Look"}, {"image": "image/png, 640×480, 1234 bytes"}]},
    ]


def test_text_of_several_lines_stands_as_it_was_written():
    assert "text: |-\n          You are a help.\n          Be brief.\n" in document(
        a_session(), TRANSCRIPT, EXCHANGES
    )


def test_what_is_unknown_is_null_or_left_out():
    turn = load(document(a_session(), [], [an_exchange(input_tokens=None, cost_usd=None, status=None)]))

    assert turn["turns"][0]["input_tokens"] is None
    assert turn["turns"][0]["cost_usd"] is None
    assert "status" not in turn["turns"][0]


def test_without_content_there_are_only_figures():
    text = document(a_session(), TRANSCRIPT, EXCHANGES, content=False)

    assert "Hello" not in text
    assert load(text)["turns"][1]["output_tokens"] == 20


@pytest.mark.parametrize(
    "where",
    [
        {"transcript": [(said("user", f"my key is {KEY}"), "x1")]},
        {
            "transcript": [
                (said("assistant", f'{{"k": "{KEY}"}}', kind=PartKind.TOOL_CALL, name="Bash"), "x1")
            ]
        },
        {"transcript": [(said("tool", KEY, kind=PartKind.TOOL_RESULT), "x9")]},
        {"exchanges": [an_exchange(error=Problem("401", f"invalid key {KEY}"))]},
        {"session": a_session(folder=f"/home/{KEY}")},
    ],
    ids=["message", "tool call", "tool result of an unknown exchange", "error", "session"],
)
def test_no_secret_reaches_the_file(where):
    text = document(
        where.get("session", a_session()), where.get("transcript", []), where.get("exchanges", EXCHANGES)
    )

    assert KEY[20:] not in text
    assert "[redacted]" in text


def test_nothing_is_overwritten(tmp_path):
    paths = [archive.write(tmp_path, a_session(session_id=f"s{n}"), [], EXCHANGES) for n in range(3)]

    assert [path.name for path in paths] == [
        "2026-03-01-12-00-30.yaml",
        "2026-03-01-12-00-30-2.yaml",
        "2026-03-01-12-00-30-3.yaml",
    ]
    assert [load(path.read_text("utf-8"))["session_id"] for path in paths] == ["s0", "s1", "s2"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_writers_at_the_same_time_each_get_a_file(tmp_path, monkeypatch, links):
    def refuse(*names):
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    paths = []
    writers = [
        threading.Thread(
            target=lambda n=n: paths.append(archive.write(tmp_path, a_session(session_id=f"s{n}"), [], []))
        )
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert {load(path.read_text("utf-8"))["session_id"] for path in paths} == {f"s{n}" for n in range(8)}


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space"):
        archive.write(tmp_path, a_session(), TRANSCRIPT, EXCHANGES)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_owner_may_read_it(tmp_path):
    path = archive.write(tmp_path, a_session(), TRANSCRIPT, EXCHANGES)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_live_session_is_current_and_cleared_at_its_end(tmp_path):
    session = a_session()
    path = archive.write_current(tmp_path, session, TRANSCRIPT[:2], EXCHANGES[:1])
    archive.write_current(tmp_path, session, TRANSCRIPT, EXCHANGES)
    assert path == tmp_path / "alice" / "dialogs" / "current.yaml"
    assert len(load(path.read_text("utf-8"))["turns"]) == 2

    archive.clear_current(tmp_path, a_session(session_id="another"))
    assert path.stat().st_size > 0

    archive.clear_current(tmp_path, session)
    assert path.stat().st_size == 0


def test_clearing_what_was_never_written_is_no_error(tmp_path):
    archive.clear_current(tmp_path, a_session())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("user", "folder"),
    [
        ("alice", "alice"),
        ("alice@example.org", "alice@example.org"),
        ("Zoë Müller", "Zoë Müller"),
        ("日本", "日本"),
        ("", "%"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("..\\..\\x", "%2E.%5C..%5Cx"),
        ("/etc/passwd", "%2Fetc%2Fpasswd"),
        ("C:\\x", "C%3A%5Cx"),
        ("a\0b", "a%00b"),
        ("a\nb", "a%0Ab"),
        ("con", "%63on"),
        ("NUL.txt", "%4EUL.txt"),
        ("com1", "%63om1"),
        ("LPT¹", "%4CPT¹"),
        ("console", "console"),
        ("a. ", "a.%20"),
        ("a.", "a%2E"),
        (" a", "%20a"),
        ("::1", "%3A%3A1"),
        ("100%", "100%25"),
        ("evil\u202egpj", "evil%E2%80%AEgpj"),
        ('a*?<>|"b', "a%2A%3F%3C%3E%7C%22b"),
        ("~root", "%7Eroot"),
    ],
)
def test_a_users_folder(user, folder):
    assert folder_name(user) == folder


@settings(max_examples=500)
@given(st.one_of(st.text(), st.text(alphabet="./\\ ~%:cCoOnN\0", max_size=300)))
def test_no_user_name_leaves_the_folder(user):
    name = folder_name(user)
    root = Path("/archives")

    assert Path(os.path.normpath(root / name)).parent == root
    assert len(name.encode()) <= 120
    assert not set(name) & set('/\\:*?"<>|\0')
    assert name.strip(" .") == name


@given(
    st.lists(st.text(alphabet="aA./%~é\u0301 " + "x" * 3, max_size=200), min_size=2, max_size=2, unique=True)
)
def test_different_users_have_different_folders(users):
    import unicodedata

    one, other = (unicodedata.normalize("NFC", user) for user in users)
    assert (folder_name(users[0]) == folder_name(users[1])) == (one == other)


def test_a_hostile_user_is_archived_in_its_own_folder(tmp_path):
    root = tmp_path / "root"

    path = archive.write(root, a_session("../../../outside"), TRANSCRIPT, EXCHANGES)

    assert path.is_relative_to(root)
    assert list(tmp_path.iterdir()) == [root]


_ANYTHING = st.text(st.characters(), max_size=200)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), _ANYTHING), max_size=6))
def test_any_text_reads_back_as_it_was_said(lines):
    transcript = [(said(role, text), "x1") for role, text in lines]

    read = load(document(a_session(), transcript, EXCHANGES[:1]))

    messages = read["turns"][0].get("messages", [])
    assert [(message["role"], message["text"]) for message in messages] == [
        (role, text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")) for role, text in lines
    ]


def test_of_a_system_prompt_that_changes_a_little_only_the_change_is_new():
    def system(stamp):
        parts = (Part(kind=PartKind.TEXT, text=f"turn {stamp}"), Part(kind=PartKind.TEXT, text="Be brief."))
        return Message(role="system", parts=parts, digest=stamp)

    transcript = [
        (system("1"), "x1"),
        (said("user", "Hi"), "x1"),
        (system("2"), "x2"),
        (said("user", "Hi"), "x2"),
    ]

    first, second = load(document(a_session(), transcript, EXCHANGES))["turns"]

    assert first["messages"][0] == {"role": "system", "parts": [{"text": "turn 1"}, {"text": "Be brief."}]}
    assert second["messages"] == [{"role": "system", "text": "turn 2"}, {"role": "user", "text": "Hi"}]
