"""What providers add is known before the first answer, where they or others have published it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.tokens import Call, Estimator, tokenizer
from kimi_mitm.tokens.groups import group_of, groups

FRIEND = [{"role": "user", "content": "hello there my friend"}]


def asked(
    family: str,
    model: str,
    place: str = "somebody",
    wire_format: str = "openai.chat",
    **body: Any,
) -> int:
    """The estimate of a model's first request: four words, unless the body says otherwise."""
    call = Call(
        provider=place,
        served_by=place,
        wire_format=wire_format,
        model=model,
        family=family,
        body=json.dumps({"messages": FRIEND, **body}).encode(),
    )
    return Estimator().estimate(call).estimate.input_tokens


@pytest.mark.parametrize(
    ("model", "auto", "forced"),
    [
        ("claude-3-opus-20240229", 530, 281),
        ("claude-3-sonnet-20240229", 159, 235),
        ("claude-3-haiku-20240307", 264, 340),
        ("claude-3-5-haiku-20241022", 264, 355),
        ("claude-sonnet-4-20250514", 313, 315),
        ("claude-opus-4-1-20250805", 313, 315),
        ("claude-haiku-4-5-20251001", 496, 588),
        ("claude-opus-4-7", 675, 804),
        ("claude-opus-4-8", 290, 410),
        ("claude-sonnet-5", 354, 474),
        ("claude-opus-5", 286, 406),
    ],
)
def test_claudes_tool_preamble_depends_on_the_choice(model: str, auto: int, forced: int) -> None:
    """By Anthropic's table, as it stood in autumn 2026."""
    known = group_of("claude", model, "anthropic.messages", "anthropic", "anthropic").known

    assert known["any_tools"] == auto
    assert known["any_tools"] + known["required"] == forced
    assert known["any_tools"] + known["forced"] == forced


# Counted by hand from the chat templates that the models are published with: the text's tokens, those of its
# frame, and those before the answer.
@pytest.mark.parametrize(
    ("family", "model", "frame"),
    [
        ("gemma", "gemma3:1b", 5 + 4),
        ("llama", "llama3:8b", 5 + 5),
        ("llama", "meta-llama/Llama-3.3-70B-Instruct", 5 + 30),
        ("qwen", "qwen3:8b", 5 + 3),
        ("deepseek", "deepseek-chat", 1 + 3),
        ("mistral", "open-mistral-7b", 2 + 1),
        ("kimi", "kimi-k2-instruct", 4 + 19),
        ("glm", "glm-4.5", 2 + 4),
        ("gemma", "gemma-4-31b", 5 + 4),
        ("minimax", "MiniMax-M2", 5 + 17),
    ],
)
def test_a_published_template_is_counted_before_the_first_answer(family: str, model: str, frame: int) -> None:
    """Where nothing else is known, within a few tokens."""
    assert asked(family, model) == pytest.approx(4 + frame, abs=4)


@pytest.mark.parametrize(
    ("family", "model", "place", "frame"),
    [
        ("command", "command-r-08-2024", "cohere", 194),
        ("command", "command-a-03-2025", "cohere", 473),
        ("command", "command-r7b-12-2024", "cohere", 473),
        ("command", "command-a-reasoning-08-2025", "cohere", 1322),
        ("gpt-oss", "gpt-oss-120b", "groq", 67),
        ("grok", "grok-3", "xai", 8),
        ("grok", "grok-4-0709", "xai", 686),
        ("grok", "grok-4-fast-reasoning", "xai", 163),
        ("grok", "x-ai/grok-code-fast-1", "openrouter", 203),
        ("grok", "grok-3-mini", "azure", 8),
        ("kimi", "kimi-k2.5", "moonshot", 10),
        ("sonar", "sonar-pro", "perplexity", 0),
        ("palmyra", "palmyra-x5", "writer", 31),
        ("deepseek", "deepseek-v4-flash", "deepseek", 83),
        ("deepseek", "deepseek/deepseek-v4-flash", "openrouter", 4),
        ("minimax", "MiniMax-M2.5", "minimax", 38),
        ("minimax", "MiniMax-M3", "minimax", 183),
        ("llama", "llama3.2", "ollama", 25),
        ("llama", "llama3.1", "ollama", 10),
        ("qwen", "qwen2.5", "ollama", 8),
    ],
)
def test_a_preamble_that_is_published_is_counted_before_the_first_answer(
    family: str, model: str, place: str, frame: int
) -> None:
    """Within a tenth, or three tokens; what is recorded of some differs by so much."""
    wire_format = "cohere.chat" if place == "cohere" else "openai.chat"

    assert asked(family, model, place, wire_format) == pytest.approx(4 + frame, rel=0.1, abs=3)


@pytest.mark.parametrize(
    ("family", "model", "place", "preamble"),
    [
        ("gpt", "gpt-5-mini", "openai", 90),
        ("gpt", "gpt-5-nano", "azure", 90),
        ("gpt", "openai/gpt-5", "openrouter", 9),
        ("gpt", "gpt-4o", "openai", 9),
    ],
)
def test_openais_chat_endpoint_tells_gpt_5_more_about_tools(
    family: str, model: str, place: str, preamble: int
) -> None:
    """By 81 tokens, as the recordings of four projects show, one of them at Azure; behind a gateway it is
    asked otherwise."""
    tool = {"type": "function", "function": {"name": "now", "description": "Tells the time."}}
    read = "namespace functions {\n\n// Tells the time.\ntype now = () => any;\n\n} // namespace functions"

    more = asked(family, model, place, tools=[tool]) - asked(family, model, place)

    assert more == preamble + tokenizer.count(read)


def test_qwen_coder_reads_tools_as_xml() -> None:
    """Every field has tags around its name, its type and its description."""
    fields = {f"field_{n}": {"type": "string", "description": "what it is"} for n in range(6)}
    parameters = {"type": "object", "properties": fields}
    tool = {"type": "function", "function": {"name": "f", "description": "Does it", "parameters": parameters}}

    found = asked("qwen", "qwen3-coder-480b", tools=[tool])

    words = 3 + 6 * (3 + 3)
    assert found == pytest.approx(12 + 205 + 24 + 6 * 22 + words, rel=0.05)


def test_coheres_compatible_endpoint_reports_what_is_billed() -> None:
    """Without the preamble that its own endpoint counts."""
    assert asked("command", "command-a-03-2025", "cohere") == pytest.approx(6, abs=4)


def test_documents_to_be_cited_bring_instructions_along() -> None:
    """A thousand tokens at Command A, by its template."""
    where = ("command", "command-a-03-2025", "cohere", "cohere.chat")

    more = asked(*where, documents=[{"data": {"text": "Somebody made it."}}]) - asked(*where)

    assert more == pytest.approx(1095, rel=0.1)


def test_gpt_oss_reads_its_tools_as_typescript() -> None:
    """By OpenAI's description of its harmony format."""
    assert group_of("gpt-oss", "gpt-oss-120b", "openai.chat", "groq", "openai_chat").functions == "typescript"


def test_every_row_of_the_table_says_what_is_understood() -> None:
    """Names are its own, encodings and functions known, and each weight is of a regressor with a prior."""
    rows = groups()
    known = set(rows[-1].prior)

    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.encoding in (tokenizer.O200K, tokenizer.CL100K, tokenizer.GEMMA), row.name
        assert row.functions in ("json", "typescript", "words"), row.name
        assert row.known.keys() | row.template.keys() <= known, row.name


THOUGHT = "<think>\n" + "Let me think about what they may want. " * 20 + "</think>\n\n"


def answered(thought: str) -> list[dict[str, str]]:
    return [*FRIEND, {"role": "assistant", "content": f"{thought}Hello!"}, *FRIEND]


@pytest.mark.parametrize(("family", "model"), [("qwen", "qwen3-32b"), ("glm", "glm-4.7")])
def test_what_was_thought_between_tags_is_left_out_of_later_turns(family: str, model: str) -> None:
    """By the models' published templates: 160 tokens here."""
    plain, thought = (asked(family, model, messages=answered(text)) for text in ("", THOUGHT))

    assert thought == pytest.approx(plain, abs=12)


def test_elsewhere_it_is_text() -> None:
    plain, thought = (asked("gpt", "gpt-4o", messages=answered(text)) for text in ("", THOUGHT))

    assert thought - plain == tokenizer.count(THOUGHT + "Hello!") - tokenizer.count("Hello!")


def test_z_ai_keeps_what_was_thought_when_asked_to() -> None:
    """`clear_thinking: false`."""
    thought = "Let me think about what they may want. " * 20
    messages = [*FRIEND, {"role": "assistant", "content": "Hello!", "reasoning_content": thought}, *FRIEND]

    dropped, kept = (
        asked("glm", "glm-4.7", messages=messages, thinking={"type": "enabled", "clear_thinking": clear})
        for clear in (True, False)
    )

    assert kept - dropped == pytest.approx(tokenizer.count(thought), rel=0.2)


@pytest.mark.parametrize(("model", "dropped"), [("qwen3-max", True), ("gpt-4o", False)])
def test_some_leave_tools_out_that_may_not_be_called(model: str, dropped: bool) -> None:
    family = "qwen" if dropped else "gpt"
    tool = {"type": "function", "function": {"name": "now", "description": "Tells the time."}}

    without = asked(family, model)
    barred = asked(family, model, tools=[tool], tool_choice="none")

    assert (barred == without) is dropped


@pytest.mark.parametrize(
    ("kinds", "documented"),
    [
        (["bash_20250124"], 245),
        (["text_editor_20250728"], 700),
        (["bash_20250124", "text_editor_20250124", "computer_20250124"], 245 + 700 + 735 + 480),
    ],
)
def test_tools_that_anthropic_defines_have_their_documented_size(kinds: list[str], documented: int) -> None:
    """Beside what any tools add."""
    tools = [{"type": kind, "name": kind.split("_")[0]} for kind in kinds]

    found = asked("claude", "claude-sonnet-4-6", "anthropic", "anthropic.messages", tools=tools)
    without = asked("claude", "claude-sonnet-4-6", "anthropic", "anthropic.messages")

    assert found - without == pytest.approx(496 + documented, rel=0.1)


def test_a_tool_of_ones_own_beside_them_counts_as_ever() -> None:
    own = {"name": "now", "description": "Tells the time.", "input_schema": {"type": "object"}}
    bash = {"type": "bash_20250124", "name": "bash"}

    alone, both, defined = (
        asked("claude", "claude-sonnet-4-6", "anthropic", "anthropic.messages", tools=tools)
        for tools in ([own], [own, bash], [bash])
    )
    without = asked("claude", "claude-sonnet-4-6", "anthropic", "anthropic.messages")

    assert both - alone == pytest.approx(defined - without - 496, abs=30)


@pytest.mark.parametrize("kind", ["computer_use_preview", "bash_tool", "bash_20250124_of_mine"])
def test_a_type_of_somebody_elses_has_no_such_size(kind: str) -> None:
    tool = {"type": kind, "name": "it"}

    assert asked("gpt", "gpt-4o", tools=[tool]) < 100
