"""Prompts are estimated before the answer, and better after it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from helpers_tokens import answer, chat, claude, said, user
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.records import Answer, Composition, EstimateKind, ToolCall, Usage
from kimi_mitm.tokens import Call, Estimator, estimate_by_length

WEATHER = {
    "name": "get_weather",
    "description": "Get the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def estimator() -> Estimator:
    return Estimator()


# By OpenAI's published rule: the text's tokens, 4 a message (6 for an assistant's where there are channels),
# 3 (2) before the answer, and for a name that isn't the role its tokens and one more.
@pytest.mark.parametrize(
    ("model", "messages", "tokens"),
    [
        ("gpt-4o", [user("hello")], 1 + 4 + 3),
        ("gpt-4o-mini", [{"role": "system", "content": "hello"}, user("hello world")], 1 + 2 + 8 + 3),
        ("gpt-3.5-turbo", [user("hello")], 1 + 4 + 3),
        ("gpt-5", [user("hello")], 1 + 4 + 2),
        ("gpt-5", [user("hello"), said("hello"), user("hello")], 3 + 4 + 6 + 4 + 2),
        ("o3-mini", [user("hello")], 1 + 4 + 2),
        ("gpt-4o", [{"role": "user", "name": "primary", "content": "hello"}], 1 + 2 + 4 + 3),
    ],
)
def test_openai_text_is_counted_exactly(
    estimator: Estimator, model: str, messages: list[dict[str, Any]], tokens: int
) -> None:
    """Without having seen a single answer."""
    estimate = estimator.estimate(chat(messages, model=model)).estimate

    assert estimate.input_tokens == tokens
    assert estimate.kind is EstimateKind.EXACT


def test_texts_side_by_side_are_one_text(estimator: Estimator) -> None:
    """`?` and `<file` share a token."""
    parts = [{"type": "text", "text": "What's in this file?"}, {"type": "text", "text": "<file>"}]

    apart = estimator.estimate(chat([{"role": "user", "content": parts}])).estimate
    whole = estimator.estimate(chat([user("What's in this file?<file>")])).estimate

    assert apart.input_tokens == whole.input_tokens


def test_openai_tools_are_counted_as_a_namespace(estimator: Estimator) -> None:
    """A tool without described fields takes one line; 9 tokens stand around the namespace."""
    call = chat([user("hello")], tools=[{"type": "function", "function": WEATHER}])
    namespace = (
        "namespace functions {\n\n// Get the weather\n"
        "type get_weather = (_: { city: string }) => any;\n\n} // namespace functions"
    )
    expected = 1 + 4 + 3 + 9 + estimator.count_text("gpt", namespace)

    assert estimator.estimate(call).estimate.input_tokens == pytest.approx(expected, abs=1)


def test_the_parts_sum_to_the_estimate(estimator: Estimator) -> None:
    """Whatever is in the prompt."""
    messages = [
        {"role": "user", "content": "hi <mcp-memory>likes tea</mcp-memory>"},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "found it in the list"}]},
    ]
    tools = [{"name": "f", "description": "finds", "input_schema": {"type": "object"}}]

    estimate = estimator.estimate(claude(messages, system="be brief", tools=tools)).estimate

    assert estimate.composition.total == estimate.input_tokens
    for part in ("system", "tools", "user", "assistant", "tool_results", "memory"):
        assert getattr(estimate.composition, part) > 0, part


def test_an_estimate_without_answers_rests_on_the_family(estimator: Estimator) -> None:
    """Claude's framing is known before the first answer; a family of tomorrow's isn't."""
    assert estimator.estimate(claude([user("hello")])).estimate.kind is EstimateKind.PRIOR
    unknown = chat([user("hello")], model="brand-new-1", family="unknown")
    assert estimator.estimate(unknown).estimate.kind in (EstimateKind.PLAIN, EstimateKind.PRIOR)


def test_answers_make_the_next_estimate_better(estimator: Estimator) -> None:
    """A provider that counts 1.3 tokens for one of ours, and 200 for nothing."""
    texts = [f"Please summarise chapter {n} of the book, {'in some more detail ' * n}" for n in range(1, 14)]
    errors = []
    for text in texts:
        plain = estimator.count_text("gpt", text)
        estimated, _ = answer(estimator, claude([user(text)]), truth := round(200 + 1.3 * plain))
        errors.append(abs(estimated.estimate.input_tokens - truth) / truth)

    assert errors[0] > 0.5
    assert max(errors[-3:]) < 0.05
    assert estimated.estimate.kind is EstimateKind.CALIBRATED
    assert estimated.estimate.p90_error is not None


def test_another_model_of_the_group_profits(estimator: Estimator) -> None:
    """What one model's answers show of the place is believed of its sister."""
    for n in range(8):
        text = f"question {n} " * (n + 1)
        answer(estimator, claude([user(text)]), 300 + estimator.count_text("gpt", text))
    sister = claude([user("hello there")])
    sister = Call(**{f.name: getattr(sister, f.name) for f in fields(sister)} | {"model": "claude-opus-4-6"})

    assert estimator.estimate(sister).estimate.input_tokens == pytest.approx(302, rel=0.1)


def test_an_exact_familys_models_learn_each_for_itself(estimator: Estimator) -> None:
    """Their format is known: what one's odd answer shows is no news of its sister."""
    tools = [{"type": "function", "function": {"name": "now", "description": "Tells the time."}}]
    call = chat([user("hello")], tools=tools)
    sister = replace(call, model="gpt-4.1")
    untaught = estimator.estimate(sister).estimate.input_tokens
    answer(estimator, call, estimator.estimate(call).estimate.input_tokens + 40)

    assert estimator.estimate(sister).estimate.input_tokens == untaught


def test_a_change_of_the_providers_is_learned_in_a_few_answers(estimator: Estimator) -> None:
    """A preamble of 500 tokens from one day on, after many answers without it."""
    for n in range(40):
        text = f"question {n} " * (n % 7 + 1)
        estimated, _ = answer(
            estimator, claude([user(text)]), estimator.count_text("gpt", text) + 7 + 500 * (n > 33)
        )

    assert estimated.estimate.input_tokens == pytest.approx(507 + estimator.count_text("gpt", text), rel=0.05)


def test_an_exact_family_stays_exact_despite_one_odd_answer(estimator: Estimator) -> None:
    """One figure from another context; the next text is still counted, not guessed."""
    for text in ("hello", "hello world", "hello hello"):
        answer(estimator, chat([user(text)]), 7 + len(text.split()))
    answer(estimator, chat([user("hello")]), 900)

    estimate = estimator.estimate(chat([user("hello there")])).estimate

    assert (estimate.input_tokens, estimate.kind) == (9, EstimateKind.EXACT)


def test_an_exact_family_gives_way_to_residuals(estimator: Estimator) -> None:
    """A gateway that adds 50 tokens to everything is learned."""
    for n in range(8):
        text = "hello " * (n + 1)
        estimated, _ = answer(estimator, chat([user(text)]), 57 + estimator.count_text("gpt", text))

    assert estimated.estimate.kind is EstimateKind.CALIBRATED
    assert estimator.estimate(chat([user("hello")])).estimate.input_tokens == pytest.approx(58, abs=3)


@pytest.mark.parametrize("tokens", [None, 0, -5, 10**9, True])
def test_hostile_figures_never_teach(estimator: Estimator, tokens: int | None) -> None:
    """What can't be a count is no lesson."""
    before = estimator.estimate(claude([user("hello")])).estimate.input_tokens

    _, changed = answer(estimator, claude([user("hello")]), tokens)

    assert changed == []
    assert estimator.estimate(claude([user("hello")])).estimate.input_tokens == before


@pytest.mark.parametrize("reason", ["previous_response_id", "server_tools", "cached_content", "remote_media"])
def test_a_prompt_that_is_not_wholly_visible_never_teaches(estimator: Estimator, reason: str) -> None:
    """Its figure says nothing of what was seen."""
    _, changed = answer(estimator, claude([user("hello")], hidden=frozenset({reason})), 5000)

    assert changed == []


def test_a_conversation_is_anchored_on_its_answered_part(estimator: Estimator) -> None:
    """What a prompt turned out to have stays, whatever the weights say."""
    first = [user("tell me a story " * 50)]
    answer(estimator, claude(first), 3000)
    longer = [*first, said("once"), user("go on")]

    assert estimator.estimate(claude(longer)).estimate.input_tokens == pytest.approx(3010, rel=0.05)


def test_an_anchor_does_not_hold_under_other_settings(estimator: Estimator) -> None:
    """A schema's tokens aren't the conversation's."""
    schema = {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {}}}}}
    first = [user("tell me a story " * 50)]
    answer(estimator, claude(first, output_config=schema), 3000)

    assert estimator.estimate(claude([*first, said("once"), user("go on")])).estimate.input_tokens < 2000


def test_the_context_of_a_continued_response_is_added() -> None:
    """Only the new input is sent; the rest is known from the earlier answer."""
    estimator = Estimator()

    def turn(text: str, previous: str | None = None) -> Call:
        body = {
            "model": "gpt-5",
            "input": [user(text)],
            **({"previous_response_id": previous} if previous else {}),
        }
        return Call(
            provider="openai",
            wire_format="openai.responses",
            body=json.dumps(body).encode(),
            model="gpt-5",
            family="gpt",
            previous_response_id=previous,
            hidden=frozenset({"previous_response_id"} if previous else ()),
        )

    first = estimator.estimate(turn("hello"))
    usage = Usage(input_tokens=1000, output_tokens=300, reasoning_tokens=100)
    estimator.learn(first, usage, response_id="resp_1")

    second = estimator.estimate(turn("hello again", "resp_1"))

    assert second.estimate.input_tokens == pytest.approx(1000 + 200 + 6, abs=3)
    assert second.turn.history_ratio > 0.9
    assert second.estimate.composition.total == second.estimate.input_tokens
    assert estimator.estimate(turn("hello", "resp_unknown")).estimate.input_tokens < 20


def test_a_document_is_remembered() -> None:
    """The same picture costs the same the next time, in another conversation too."""
    estimator = Estimator()
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoAAAAA"},
    }

    def show(text: str) -> Call:
        return claude([{"role": "user", "content": [picture, {"type": "text", "text": text}]}])

    guess, _ = answer(estimator, show("what is this"), 2500)
    again = estimator.estimate(show("please describe it"))

    assert abs(guess.estimate.input_tokens - 2500) > 500
    assert again.estimate.input_tokens == pytest.approx(2500, abs=25)


def test_a_long_text_is_approximate_beyond_the_budget() -> None:
    """What isn't tokenized is counted by length, and said so; it teaches nothing."""
    estimator = Estimator(budget=10_000)
    call = chat([user("word " * 1000), user("word " * 20_000)])

    estimated, changed = answer(estimator, call, 30_000)

    assert estimated.estimate.approximate
    assert estimated.estimate.input_tokens == pytest.approx(1000 + 25_000, rel=0.1)
    assert estimated.estimate.kind is not EstimateKind.EXACT
    assert changed == []


def test_a_dropped_body_is_estimated_by_length() -> None:
    """Four bytes a token."""
    estimate = estimate_by_length(4000)

    assert (estimate.input_tokens, estimate.kind, estimate.approximate) == (1000, EstimateKind.PLAIN, True)
    assert estimate.composition == Composition(other=1000)


def test_an_answers_tokens_are_counted_from_its_text(estimator: Estimator) -> None:
    """For streams that tell no usage."""
    spoken = Answer(
        text="hello world", reasoning="well", tool_calls=(ToolCall("get_weather", '{"city":"Paris"}'),)
    )

    assert estimator.estimate_output(chat([user("hi")]), spoken) == 2 + 1 + 2 + 5
    assert estimator.estimate_output(chat([user("hi")]), Answer()) == 0


def test_an_empty_request_has_no_tokens(estimator: Estimator) -> None:
    """Nothing to answer."""
    call = Call(provider="openai", wire_format="openai.chat", body=b"{}", model="gpt-4o", family="gpt")

    assert estimator.estimate(call).estimate.input_tokens == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(
    st.sampled_from(
        ["openai.chat", "openai.responses", "anthropic.messages", "google.generate_content", "cohere.chat"]
    ),
    st.dictionaries(
        st.sampled_from(
            ["messages", "input", "tools", "system", "contents", "text", "tool_choice", "thinking"]
        ),
        JSON,
    ),
    st.none() | st.integers(),
)
@settings(deadline=None, max_examples=150)
def test_any_body_is_estimated_and_learned_from(wire: str, body: dict[str, Any], tokens: int | None) -> None:
    """Arbitrary JSON never raises, and the parts always sum up."""
    estimator = Estimator()
    call = Call(provider="p", wire_format=wire, body=json.dumps(body).encode(), model="m", family="unknown")

    estimated, _ = answer(estimator, call, tokens)

    assert estimated.estimate.composition.total == estimated.estimate.input_tokens >= 0
    assert estimated.turn.delta_tokens >= 0


def signed(turns: int, *, stream: bool = True) -> Call:
    """A tool loop of Gemini's in which every call carries a signature."""
    contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "roll the dice until it is six"}]}]
    for place in range(turns):
        call = {"functionCall": {"name": "roll", "args": {"n": place}}, "thoughtSignature": "s" * 600}
        result = {"functionResponse": {"name": "roll", "response": {"rolled": place}}}
        contents += [{"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]
    return Call(
        provider="google",
        served_by="google",
        wire_format="google.generate_content",
        model="gemini-3-flash-preview",
        family="gemini",
        body=json.dumps({"contents": contents}).encode(),
        stream=stream,
    )


def test_replayed_signatures_count_as_the_reasoning_they_stand_for(estimator: Estimator) -> None:
    """The answer's own figure is known; the signature's size only hints at it."""
    first = estimator.estimate(signed(0))
    estimator.learn(first, Usage(input_tokens=8, output_tokens=400, reasoning_tokens=390))
    known = estimator.estimate(signed(1)).estimate.input_tokens

    fresh = Estimator().estimate(signed(1)).estimate.input_tokens

    assert known - fresh == pytest.approx(390 - 100, rel=0.25)


def test_a_signature_on_each_of_two_calls_counts_twice(estimator: Estimator) -> None:
    """Some clients replay it with every call of the answer; Google bills every copy."""

    def replayed(calls: int) -> Call:
        contents: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "roll two dice"}]}]
        if calls:
            roll = {"functionCall": {"name": "roll", "args": {}}}
            parts = [{**roll, "thoughtSignature": "s" * 600} for _ in range(calls)]
            result = {"functionResponse": {"name": "roll", "response": {"rolled": "six"}}}
            contents += [{"role": "model", "parts": parts}, {"role": "user", "parts": [result] * calls}]
        return Call(
            provider="google",
            served_by="google",
            host="europe-west1-aiplatform.googleapis.com",
            wire_format="google.generate_content",
            model="gemini-2.5-flash",
            family="gemini",
            body=json.dumps({"contents": contents}).encode(),
        )

    first = estimator.estimate(replayed(0))
    estimator.learn(first, Usage(input_tokens=3, output_tokens=240, reasoning_tokens=200))
    once = estimator.estimate(replayed(1)).estimate.input_tokens
    twice = estimator.estimate(replayed(2)).estimate.input_tokens

    assert once == pytest.approx(3 + 200 + 5, rel=0.1)
    assert twice == pytest.approx(3 + 400 + 10, rel=0.1)


@pytest.mark.parametrize(
    ("wire_format", "opening", "closing", "body"),
    [
        ("openai.completions", "[", "]", '{"prompt": %s}'),
        ("openai.completions", '{"parts": [', "]}", '{"prompt": %s}'),
        ("openai.chat", '{"json_schema": ', "}", '{"messages": [], "response_format": %s}'),
        ("anthropic.messages", '{"thinking": ', "}", '{"messages": [], "thinking": %s}'),
        (
            "google.generate_content",
            '{"items": ',
            "}",
            '{"contents": [], "generationConfig": {"responseSchema": %s}}',
        ),
    ],
)
def test_nesting_however_deep_is_estimated(wire_format: str, opening: str, closing: str, body: str) -> None:
    """Estimating never raises, and nobody sends this in earnest."""
    for depth in (20, 300, 500, 990, 1_000, 5_000):
        nested = opening * depth + '"x"' + closing * depth
        call = Call(
            provider="somebody", wire_format=wire_format, body=(body % nested).encode(), model="m", family="m"
        )
        assert Estimator().estimate(call).estimate.input_tokens >= 0
