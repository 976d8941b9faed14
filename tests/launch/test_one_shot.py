"""A run with a session of its own."""

from __future__ import annotations

import pytest

from kimi_mitm.launch.one_shot import Watcher, again, first, named
from kimi_mitm.launch.table import table

CLAUDE = table().client("claude")
NEW = "11111111-1111-4111-8111-111111111111"


def test_a_client_that_takes_an_id_is_given_one() -> None:
    attempt = first(["claude", "-p", "hi"], CLAUDE, NEW)

    assert attempt.argv == ("claude", "--session-id", NEW, "-p", "hi")
    assert (attempt.session_id, attempt.given) == (NEW, False)


def test_the_id_goes_behind_the_clients_name_not_a_launchers() -> None:
    attempt = first(["npx", "-y", "@anthropic-ai/claude-code", "-p", "hi"], CLAUDE, NEW)

    assert attempt.argv[:5] == ("npx", "-y", "@anthropic-ai/claude-code", "--session-id", NEW)


@pytest.mark.parametrize("words", [["claude", "--session-id", "mine", "-p"], ["claude", "--session-id=mine"]])
def test_an_id_of_the_users_own_is_kept(words: list[str]) -> None:
    attempt = first(words, CLAUDE, NEW)

    assert attempt.argv == tuple(words)
    assert (attempt.session_id, attempt.given) == ("mine", True)


@pytest.mark.parametrize("words", [["claude", "-c"], ["claude", "--resume=abc"], ["claude", "-r", "abc"]])
def test_a_session_that_is_gone_on_with_gets_no_other_id(words: list[str]) -> None:
    attempt = first(words, CLAUDE, NEW)

    assert attempt.argv == tuple(words)
    assert attempt.session_id is None


@pytest.mark.parametrize("client", [table().client("codex"), None])
def test_a_client_that_takes_no_id_is_left(client: object) -> None:
    attempt = first(["codex", "exec", "hi"], client, NEW)

    assert attempt.argv == ("codex", "exec", "hi")
    assert attempt.session_id is None


@pytest.mark.parametrize(
    "words", [["claude", "--session-id", "old", "-p"], ["claude", "--session-id=old", "-p"]]
)
def test_another_attempt_has_another_id(words: list[str]) -> None:
    assert CLAUDE is not None
    attempt = again(first(words, CLAUDE, "x"), CLAUDE, NEW)

    assert attempt.session_id == NEW
    assert NEW in " ".join(attempt.argv)
    assert "old" not in " ".join(attempt.argv)
    assert attempt.argv[-1] == "-p"


def test_what_follows_two_dashes_is_no_option() -> None:
    assert named(["claude", "--", "--session-id", "x"], "--session-id") is None
    assert named(["claude", "--session-id"], "--session-id") is None


def test_a_refusal_is_seen_however_it_is_cut() -> None:
    assert CLAUDE is not None
    refusal = CLAUDE.refusal(NEW)
    assert refusal is not None
    watcher = Watcher(refusal)
    said = f"some warning\n\x1b[31mError: Session ID {NEW} is already in use.\x1b[0m\n".encode()

    for byte in said:
        watcher.feed(bytes([byte]))

    assert watcher.refused


def test_another_ids_refusal_is_none() -> None:
    assert CLAUDE is not None
    refusal = CLAUDE.refusal(NEW)
    assert refusal is not None
    watcher = Watcher(refusal)

    watcher.feed(b"Session ID 2 is already in use")

    assert not watcher.refused
