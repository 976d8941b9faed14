"""Passing over lines that say nothing gives the same as reading them all."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.logs.continue_ide import CoreLogReader
from kimi_mitm.logs.jsonl import Lines
from kimi_mitm.logs.prompt_log import PromptLogReader
from kimi_mitm.logs.source import File, LineReader, State, Tally
from kimi_mitm.records import Reading

CORE = [
    "[2026-03-02T09:00:00] [info] Starting Continue core...",
    '[2026-03-02T09:00:20] Error running handler for "llm/compileChat":  Error: Not enough context',
    "[2026-03-02T09:00:21.5Z] indexing",
    "[info] Error of nobody",
    "[not a time] at least 5 tokens remaining for output",
    "        There must be at least 1000 tokens remaining for output.",
    "        Request had the following token counts:",
    "        - contextLength: 32768",
    "        - counting safety buffer: 655.36",
    "        - tools: ~9120",
    "        - system message: ~2210",
    "        - max output tokens: 4096",
    '{"error":{"message":"prompt is too long: 213462 tokens > 200000 maximum"}}',
    "at x (y.js:1:2)",
    "",
    "é\r",
]
PROMPTS = [
    " 09:00:12.1 [Chat]",
    "|09:00:13.0 [Fim]",
    "&25:00:13.0 [Fim]",
    '              "model": "kimi-k2.5",',
    '|             "model": "codestral"',
    "            Role: user",
    "            | Prompt Tokens: 7",
    "            | some text of a prompt + 1",
    "       +2.0 Success",
    "|      +0.6 Cancelled\r",
    "            Error",
    "            Prompt Tokens: 1200",
    "|           Prompt Tokens: 96",
    "            Generated Tokens: 45",
    "|           Generated Tokens: -3",
    "",
    "é",
]


def about() -> File:
    return File(path="/x.log", modified=datetime(2026, 3, 2, 10, tzinfo=UTC), tally=Tally())


def all_read(made: LineReader, data: bytes) -> list[Reading]:
    whole = data.split(b"\n")[:-1]
    return [one for n, line in enumerate(whole, 1) for one in made.feed(line.removesuffix(b"\r"), n)]


@pytest.mark.parametrize(("reader", "known"), [(CoreLogReader, CORE), (PromptLogReader, PROMPTS)])
@settings(deadline=None)
@given(data=st.data())
def test_what_is_passed_over_says_nothing(
    reader: type[CoreLogReader | PromptLogReader], known: list[str], data: st.DataObject
) -> None:
    picked = data.draw(st.lists(st.sampled_from(known), max_size=40))
    text = "\n".join(picked).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    filed, plain = about(), about()

    follower = Lines(reader(filed, {}), filed.tally)
    found = [
        one
        for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
        for one in follower.feed(text[begin:end])
    ]
    other = reader(plain, {})

    assert found == all_read(other, text)
    assert _telling(follower.reader.state()) == _telling(other.state())
    assert (follower.number, follower.offset) == (text.count(b"\n"), text.rfind(b"\n") + 1)
    assert (filed.tally.seen, filed.tally.readings) == (plain.tally.seen, plain.tally.readings)


def _telling(state: State) -> State:
    """A state without the place of a block that said nothing."""
    idle = not (state.get("block") or state.get("counts") or state.get("open"))
    return {name: value for name, value in state.items() if not (idle and name == "done")}


@pytest.mark.parametrize(
    ("reader", "line"),
    [
        (CoreLogReader, b"[2026-03-02T09:00:00] indexed a file of the project\n"),
        (CoreLogReader, b"        a line of a long block without a time\n"),
        (PromptLogReader, b"            | some words of a prompt that says nothing of tokens\n"),
    ],
)
def test_most_lines_are_passed_over(
    reader: type[CoreLogReader | PromptLogReader], line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[bytes] = []
    monkeypatch.setattr(reader, "feed", lambda self, line, number: fed.append(line) or ())
    follower = Lines(reader(about(), {}), Tally())

    assert list(follower.feed(line * 20_000)) == []
    assert follower.number == 20_000
    assert len(fed) < 100
