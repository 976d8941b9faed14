"""The same prompt counts differently at different places; what is known of that needs no answers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from helpers_tokens import answer, claude

from kimi_mitm.records import Part, PartKind
from kimi_mitm.tokens import Call, Estimator
from kimi_mitm.tokens.groups import group_of
from kimi_mitm.tokens.media import cost, rates_of

PAGE = base64.b64encode(b"%PDF-1.4\n1 0 obj << /Type /Page >> endobj").decode()
OTHER_PAGE = base64.b64encode(b"%PDF-1.4\n2 0 obj << /Type /Page >> endobj").decode()
WAV_HEAD = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0" + b"\0" * 12


def gemini(place: str, documents: list[str], *, model: str = "gemini-2.5-flash", **more: Any) -> Call:
    """A question about documents, at the Gemini API or at Vertex."""
    parts: list[dict[str, Any]] = [{"text": "Summarise this"}]
    parts += [{"inlineData": {"mimeType": "application/pdf", "data": data}} for data in documents]
    return Call(
        provider="google",
        served_by="google",
        host="europe-west1-aiplatform.googleapis.com" if place == "vertex" else None,
        wire_format="google.generate_content",
        model=model,
        family="gemini",
        body=json.dumps({"contents": [{"role": "user", "parts": parts}], **more}).encode(),
    )


@pytest.mark.parametrize(
    ("place", "documents", "tokens"),
    [
        ("google", [PAGE], 258),
        ("google", [PAGE, OTHER_PAGE], 516),
        ("vertex", [PAGE], 1290),
        ("vertex", [PAGE, OTHER_PAGE], 516),
    ],
)
def test_vertex_looks_closer_at_a_lone_page(place: str, documents: list[str], tokens: int) -> None:
    """In five crops of 258 tokens, where the Gemini API takes one."""
    estimate = Estimator().estimate(gemini(place, documents)).estimate

    assert estimate.input_tokens == pytest.approx(tokens + 4, rel=0.08)


def test_a_lone_page_is_remembered_as_one_of_many() -> None:
    """What it cost alone isn't what it costs beside another."""
    estimator = Estimator()
    answer(estimator, gemini("vertex", [PAGE]), 1294)

    beside = estimator.estimate(gemini("vertex", [PAGE, OTHER_PAGE])).estimate

    assert beside.input_tokens == pytest.approx(520, rel=0.1)


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-flash-preview"])
def test_the_gemini_api_counts_no_output_schema(model: str) -> None:
    """From 2.5 on."""
    fields = {f"field_{n}": {"type": "string", "description": "what it is called"} for n in range(9)}
    schema = {"responseSchema": {"type": "object", "properties": fields}}

    plain = Estimator().estimate(gemini("google", [], model=model)).estimate.input_tokens
    shaped = Estimator().estimate(gemini("google", [], model=model, generationConfig=schema)).estimate

    assert shaped.input_tokens == pytest.approx(plain, abs=3)


@pytest.mark.parametrize(
    ("model", "auto", "forced"),
    [
        ("claude-3-opus-20240229", 530, 281),
        ("claude-3-sonnet-20240229", 159, 235),
        ("claude-3-haiku-20240307", 264, 340),
        ("claude-3-5-haiku-20241022", 264, 340),
        ("claude-3-7-sonnet-20250219", 346, 313),
        ("claude-sonnet-4-20250514", 346, 313),
    ],
)
def test_claudes_tool_preamble_depends_on_the_choice(model: str, auto: int, forced: int) -> None:
    """By Anthropic's table."""
    known = group_of("claude", model, "anthropic.messages", "anthropic", "anthropic").known

    assert known["any_tools"] == auto
    assert known["any_tools"] + known["required"] == forced
    assert known["any_tools"] + known["forced"] == forced


def test_voxtral_hears_half_minutes() -> None:
    """12.5 tokens a second, of pieces that are filled up to 30 seconds."""
    sound = Part(kind=PartKind.AUDIO, seconds=3.7)

    assert cost(sound, rates_of("voxtral-small-latest")) == 375
    assert cost(Part(kind=PartKind.AUDIO, seconds=31), rates_of("voxtral-mini-3b-2507")) == 750


def test_mistrals_own_endpoint_reports_sound_apart() -> None:
    """Bedrock counts it in."""
    data = base64.b64encode(WAV_HEAD + b"\0" * 32000).decode()
    block = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    body = json.dumps({"messages": [{"role": "user", "content": [block]}]}).encode()

    def heard(place: str) -> int:
        call = Call(
            provider="mistral",
            served_by=place,
            wire_format="openai.chat",
            model="voxtral-small-latest",
            family="mistral",
            body=body,
        )
        return Estimator().estimate(call).estimate.input_tokens

    assert heard("mistral") < 40
    assert heard("bedrock") == pytest.approx(380, rel=0.1)


def test_a_generation_of_ollamas_has_the_models_template() -> None:
    """What isn't said in the request isn't a message."""
    body = {"model": "llama3", "prompt": "Tell me a joke", "system": "", "images": [], "context": []}
    call = Call(
        provider="ollama",
        served_by="ollama",
        wire_format="ollama.generate",
        model="llama3",
        family="llama",
        body=json.dumps(body).encode(),
    )

    estimated = Estimator().estimate(call)

    assert estimated.x["n_user"] == 1
    assert "any_system" not in estimated.x
    assert estimated.estimate.input_tokens == pytest.approx(4 + 10, abs=4)


def test_a_picture_is_not_charged_with_what_a_long_prompt_was_misjudged_by() -> None:
    """Its formula knows better; only a figure far from it is remembered."""
    estimator = Estimator()
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0\x08\x02\0\0\0"
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(head).decode()},
    }
    asked = [{"role": "user", "content": [picture, {"type": "text", "text": "what is this"}]}]
    before = estimator.estimate(claude(asked)).estimate.input_tokens
    long = [{"role": "user", "content": [picture, {"type": "text", "text": "what is this, and why? " * 60}]}]
    answer(estimator, claude(long), estimator.estimate(claude(long)).estimate.input_tokens + 40)

    assert estimator.estimate(claude(asked)).estimate.input_tokens == pytest.approx(before, abs=12)


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
    ],
)
def test_a_published_template_is_counted_before_the_first_answer(family: str, model: str, frame: int) -> None:
    """Where nothing else is known, within a few tokens."""
    call = Call(
        provider="somebody",
        served_by="somebody",
        wire_format="openai.chat",
        model=model,
        family=family,
        body=json.dumps({"messages": [{"role": "user", "content": "hello there my friend"}]}).encode(),
    )

    assert Estimator().estimate(call).estimate.input_tokens == pytest.approx(4 + frame, abs=4)


def test_gpt_oss_reads_its_tools_as_typescript() -> None:
    """By OpenAI's description of its harmony format."""
    assert group_of("gpt-oss", "gpt-oss-120b", "openai.chat", "groq", "openai_chat").typescript


@pytest.mark.parametrize(("model", "more"), [("gemini-2.0-flash", 0), ("gemini-2.5-pro", 1)])
def test_google_counts_nothing_for_who_speaks(model: str, more: int) -> None:
    """Three turns have the tokens of their texts, and from 2.5 on one more."""
    said = [("user", "hello"), ("model", "hello"), ("user", "hello there")]
    contents = [{"role": role, "parts": [{"text": text}]} for role, text in said]
    call = gemini("google", [], model=model, contents=contents)

    assert Estimator().estimate(call).estimate.input_tokens == pytest.approx(4 + more, abs=1)


def test_gemini_3_sees_a_page_as_one_picture() -> None:
    """Some 520 tokens, however it is alone."""
    estimate = Estimator().estimate(gemini("google", [PAGE], model="gemini-3.5-flash")).estimate

    assert estimate.input_tokens == pytest.approx(525, rel=0.03)
