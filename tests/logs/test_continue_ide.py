"""Continue in IDEs: development data, CompileChat's report, errors in the core's log, prompt.log."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_mitm.logs.continue_ide import ChatsReader, CoreLogReader, TokensReader
from kimi_mitm.logs.prompt_log import PromptLogReader
from kimi_mitm.logs.source import is_note
from kimi_mitm.records import Source
from tests.logs.give import MODIFIED, at, file, lines

BASE = {"timestamp": "2026-03-02T09:00:04.000Z", "userAgent": "Visual Studio Code/1.99.0 (Continue/1.2.0)"}


def test_tokens_generated_are_estimates() -> None:
    line = BASE | {
        "eventName": "tokensGenerated",
        "model": "kimi-k2.5",
        "promptTokens": 1200,
        "generatedTokens": 45,
    }

    (got,) = lines(TokensReader, [line])

    assert (got.usage.input_tokens, got.usage.output_tokens, got.reported) == (1200, 45, False)
    assert (got.source, got.client, got.client_version, got.model) == (
        Source.LOGS,
        "continue",
        "1.2.0",
        "kimi-k2.5",
    )
    assert got.at == at("09:00:04")


def test_a_chat_tells_its_session_and_no_text() -> None:
    line = BASE | {
        "eventName": "chatInteraction",
        "sessionId": "s1",
        "prompt": "secret",
        "completion": "secret",
        "modelName": "Kimi K2.5 (NIM)",
    }

    (got,) = lines(ChatsReader, [line])

    assert (got.client_session_id, got.model, got.side, bool(got.usage)) == ("s1", None, False, False)
    assert "secret" not in repr(got)


BLOCK = """[2026-03-02T09:00:20] Error running handler for "llm/compileChat":  Error: Not enough context \
available to include the system message, last user message, and tools.
        There must be at least 1000 tokens remaining for output.
        Request had the following token counts:
        - contextLength: 32768
        - counting safety buffer: 655.36
        - tools: ~9120
        - system message: ~2210
        - max output tokens: 4096
[2026-03-02T09:00:55] [info] something else """


def core(text: str) -> list[Any]:
    return lines(CoreLogReader, text.split("\n"))


def test_compile_chats_report_is_a_lower_bound_by_estimates() -> None:
    (got,) = core(BLOCK)

    assert (got.source, got.reported, got.lower_bound) == (Source.COMPILE_CHAT, False, True)
    assert (got.context_window, got.tools_tokens, got.system_tokens) == (32_768, 9120, 2210)
    assert got.usage.input_tokens == 31_113  # more than 32768 - 655.36 - 1000 did not fit
    assert (got.at, got.origin, got.model) == (at("09:00:20"), "/logs/file:1", None)
    assert got.problem is not None


def test_without_the_least_output_the_listed_parts_are_the_lower_bound() -> None:
    (got,) = core(BLOCK.replace("There must be at least 1000 tokens", "There must be some tokens"))

    assert got.usage.input_tokens == 11_330


def test_a_block_that_ends_early_counts_with_what_it_has() -> None:
    text = BLOCK.replace("        - max output tokens: 4096\n", "")

    assert [one.tools_tokens for one in core(text)] == [9120]


def test_a_count_out_of_bounds_is_left_out_and_counted() -> None:
    about = file()

    (got,) = lines(CoreLogReader, BLOCK.replace("~9120", "~-9120").split("\n"), about)

    assert (got.tools_tokens, got.system_tokens, about.tally.rejected) == (None, 2210, 1)


def test_the_report_is_known_by_its_counts_not_by_its_first_words() -> None:
    text = BLOCK.replace("Error running handler", "Running handler").replace("Error: Not", "Not")

    assert [one.system_tokens for one in core(text)] == [2210]


def test_two_blocks_are_two_readings() -> None:
    again = BLOCK.replace("09:00:20", "09:00:40")

    assert [one.at for one in core(f"{BLOCK}\n{again}")] == [at("09:00:20"), at("09:00:40")]


def test_an_error_that_states_the_prompts_tokens_is_a_reading() -> None:
    text = (
        '[2026-03-02T09:00:31] Error running handler for "llm/streamChat":  Error: HTTP 400 Bad Request\n'
        "\n"
        '{"error":{"message":"prompt is too long: 213462 tokens > 200000 maximum"}} '
    )

    (got,) = core(text)

    assert (got.source, got.usage.input_tokens, got.context_window) == (Source.API_ERROR, 213_462, 200_000)
    assert (got.reported, got.at) == (True, at("09:00:31"))


def test_a_quota_is_no_token_count() -> None:
    text = (
        '[2026-03-02T09:00:31] Error running handler for "llm/streamChat":  Error: HTTP 429\n'
        "\n"
        '{"error":{"message":"Quota exceeded for metric: x/generate_content_free_tier_input_token_count, '
        'limit: 250000\\nPlease retry in 12.5s."}} '
    )

    assert core(text) == []


PROMPTS = """ 09:00:12.1 [Chat]
            Options: {
              "model": "kimi-k2.5",
              "maxTokens": 4096
            }
            Role: user
            | Prompt Tokens: 7
|09:00:13.0 [Fim]
|           Options: {
|             "model": "codestral-latest"
|           }
       +1.0 Role: assistant
            | ok 0
|      +0.6 Cancelled
|           Prompt Tokens: 96
|           Generated Tokens: 3
       +2.0 Success
            Prompt Tokens: 1200
            Generated Tokens: 45
            Thinking Tokens: 5
 00:00:02.4 [Chat]
       +1.0 Error
            Prompt Tokens: 50
            Generated Tokens: 0"""


def test_overlapping_interactions_are_told_apart_and_midnight_goes_on() -> None:
    fim, chat, late = lines(PromptLogReader, PROMPTS.split("\n"))

    assert (fim.usage.input_tokens, fim.model, fim.side, fim.finish_reason) == (
        96,
        "codestral-latest",
        True,
        "cancelled",
    )
    assert (chat.usage.input_tokens, chat.usage.output_tokens, chat.model) == (1200, 45, "kimi-k2.5")
    assert (chat.at, chat.side, chat.reported) == (at("09:00:14.100"), False, False)
    assert (late.at.day, late.finish_reason) == (3, "error")


def test_a_time_after_the_files_own_was_on_the_day_before() -> None:
    (got,) = lines(
        PromptLogReader,
        [
            " 23:59:58.0 [Chat]",
            "       +1.0 Success",
            "            Prompt Tokens: 5",
            "            Generated Tokens: 5",
        ],
    )

    assert got.at.day == 1
    assert got.at < MODIFIED


@pytest.mark.parametrize("reader", [TokensReader, ChatsReader, CoreLogReader, PromptLogReader])
def test_rubbish_gives_nothing(reader: Any) -> None:
    rubbish = ["", "{}", "[1]", "null", '{"timestamp": 5, "eventName": "tokensGenerated"}', " 99:99:99.9 [X]"]

    assert lines(reader, [*rubbish, "[2026-13-45T00:00:00] Request had the following token counts"]) == []


def test_a_chat_is_a_note_unless_the_join_ties_it() -> None:
    line = BASE | {"eventName": "chatInteraction", "sessionId": "s1"}

    assert [is_note(one) for one in lines(ChatsReader, [line])] == [True]
