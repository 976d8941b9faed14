"""The same prompt counts differently at different places; what is known of that needs no answers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from helpers_tokens import answer, claude

from kimi_mitm.records import Part, PartKind
from kimi_mitm.tokens import Call, Estimator
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


@pytest.mark.parametrize(("model", "more"), [("gemini-2.0-flash", 0), ("gemini-2.5-pro", 3)])
def test_google_counts_one_token_a_turn_at_most(model: str, more: int) -> None:
    """Three turns have the tokens of their texts, and from 2.5 on one more each."""
    said = [("user", "hello"), ("model", "hello"), ("user", "hello there")]
    contents = [{"role": role, "parts": [{"text": text}]} for role, text in said]
    call = gemini("google", [], model=model, contents=contents)

    assert Estimator().estimate(call).estimate.input_tokens == 4 + more


def test_gemini_3_sees_a_page_as_one_picture() -> None:
    """Some 520 tokens, however it is alone."""
    estimate = Estimator().estimate(gemini("google", [PAGE], model="gemini-3.5-flash")).estimate

    assert estimate.input_tokens == pytest.approx(525, rel=0.03)
