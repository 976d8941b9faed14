"""Estimates a prompt's tokens before its answer, and learns from what the provider then reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kimi_mitm.records import Answer, Composition, Estimate, EstimateKind, Usage
from kimi_mitm.tokens import learner, tokenizer
from kimi_mitm.tokens.bounds import bounds
from kimi_mitm.tokens.composition import compose
from kimi_mitm.tokens.features import INDEX
from kimi_mitm.tokens.groups import Group, group_of
from kimi_mitm.tokens.models import Models, Weighing
from kimi_mitm.tokens.prediction import bounded, outgrown, predicted
from kimi_mitm.tokens.reading import Cache, Call, Observed, Reader
from kimi_mitm.tokens.regression import Row, dot
from kimi_mitm.tokens.turns import (
    Anchors,
    Conversations,
    Exchanged,
    Turn,
    signed,
    turn,
    with_reasoning,
)

_MEDIA_MOST = 100_000
_MISJUDGED = 50
_CONTEXTS = 1024
_PLAIN = (
    "text", "names", "call", "result", "tools", "json_tools", "schema", "json_schema", "thought", "image",
    "pages", "audio", "video",
)  # fmt: skip
_TEXT_ONLY = frozenset(
    ("text", "names", "const", "n_user", "n_system", "n_assistant", "any_system", "empty_tools",
     "digits", "wide", "blanks", "marks", "capitals", "old_thought", "old_opaque", "n_old_thought",
     "old_call_opaque", "streamed_old_opaque")
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """An estimate, and what `Estimator.learn` and `Estimator.turn` need to know of it."""

    estimate: Estimate
    call: Call
    turn: Turn
    observed: Observed | None = None
    x: Mapping[str, float] = field(default_factory=dict)
    history: float = 0.0
    """The share of the prompt that the previous exchange had."""
    answered: int | None = None
    """The previous prompt's reported tokens, where this one continues all of it."""
    static: int | None = None
    """The count by the known format alone, where text is all there is."""
    known_context: int | None = None
    """Tokens of the context that the request only refers to."""
    exchanged: Exchanged | None = None


def estimate_by_length(size: int) -> Estimate:
    """For a body of `size` bytes that was dropped: four bytes a token."""
    tokens = max(0, size) // 4
    return Estimate(
        input_tokens=tokens,
        tiktoken_input_tokens=tokens,
        kind=EstimateKind.PLAIN,
        composition=Composition(other=tokens),
        approximate=True,
    )


class Estimator:
    """Counts, learns, remembers; has no clock and no I/O. Use it from one thread at a time.

    `states` are the kept states (see `states`); a damaged one is left out and named in `faults`.
    `budget`: how many characters of one request may be tokenized; what goes beyond is counted by length.
    """

    def __init__(self, states: Mapping[str, bytes] | None = None, *, budget: int = 4_000_000) -> None:
        self.faults: list[str] = []
        self._reader = Reader(budget)
        self._models = Models(states or {}, self.faults)
        self._anchors = Anchors()
        self._conversations = Conversations()
        self._contexts = Cache(_CONTEXTS)

    def warm(self) -> None:
        """Loads what counting needs (0.3-0.5 s); may be called from another thread."""
        tokenizer.load(tokenizer.O200K)

    def estimate(self, call: Call) -> Estimated:
        """The tokens of a request's prompt. Doesn't raise, whatever the body is."""
        observed = self._reader.read(call)
        weighing = self._models.weighing(observed.group, call)
        x = observed.regressors()
        anchor = self._anchors.find(weighing.key, observed)
        if anchor is not None and outgrown(weighing, anchor):
            anchor = None
        if anchor is not None and any(signed(observed)):
            x = with_reasoning(x, signed(observed), anchor)
        tokens = predicted(weighing, x, observed.counted.media)
        static = round(dot(weighing.known, x)) if observed.group.exact and x.keys() <= _TEXT_ONLY else None
        if static is not None and weighing.model.exact_holds:
            tokens = float(static)
        else:
            tokens = bounded(weighing, x, tokens, anchor)
        context = self._contexts.get(call.previous_response_id) if call.previous_response_id else None
        if context is not None:
            tokens += context - self._head_tokens(weighing, observed)
        total = max(1, round(tokens)) if observed.chain or x.keys() - {"const"} else 0
        estimate = Estimate(
            input_tokens=total,
            tiktoken_input_tokens=_plain(observed),
            kind=_kind(observed, weighing, static),
            p90_error=weighing.model.p90_error,
            composition=compose(total, weighing.weights, x, observed.counted.parts, context or 0),
            approximate=observed.cut,
        )
        return self._turned(call, observed, weighing, x, estimate, static, context)

    def _turned(
        self,
        call: Call,
        observed: Observed,
        weighing: Weighing,
        x: Mapping[str, float],
        estimate: Estimate,
        static: int | None,
        context: int | None,
    ) -> Estimated:
        """The estimate with what is new in it since the previous exchange."""
        exchanged, before, common = self._conversations.enter(call.conversation, observed)
        total, answered, share = estimate.input_tokens, None, 0.0
        if context is not None:
            share = min(1.0, context / total) if total else 0.0
        elif before and common:
            known = dot(weighing.weights, observed.regressors(self._reader.prefix(observed, common)))
            share = max(0.0, min(1.0, known / max(1.0, dot(weighing.weights, x))))
            answered = before.tokens if common == before.length else None
        history = min(answered, total) if answered is not None else share * total
        return Estimated(
            estimate=estimate,
            call=call,
            turn=turn(total, history),
            observed=observed,
            x=x,
            history=share,
            answered=answered,
            static=static,
            known_context=context,
            exchanged=exchanged,
        )

    def turn(self, estimated: Estimated, input_tokens: int | None = None) -> Turn:
        """What of the prompt is new, in settled tokens once the provider has reported them."""
        if input_tokens is None:
            return estimated.turn
        if estimated.answered is not None:
            return turn(input_tokens, estimated.answered)
        return turn(input_tokens, estimated.history * input_tokens)

    def learn(
        self,
        estimated: Estimated,
        reported: Usage,
        *,
        response_id: str | None = None,
        answer: Answer | None = None,
    ) -> list[str]:
        """Learns from the provider's figures; returns the keys of the states that changed.

        Nothing is learned from a prompt that couldn't be seen whole, from figures that can't be true, and
        without figures; what continues the response still gets to know its context.
        """
        tokens, call, observed = reported.input_tokens, estimated.call, estimated.observed
        if observed is None or not learner.plausible(
            tokens, estimated.estimate.input_tokens, len(call.body) // 4
        ):
            return []
        assert tokens is not None
        if estimated.exchanged is not None:
            estimated.exchanged.tokens = tokens
        response_id = response_id or (answer.response_id if answer else None)
        if response_id:
            spoken = (reported.output_tokens or 0) - (reported.reasoning_tokens or 0)
            self._contexts[response_id] = tokens + max(0, spoken)
        if call.hidden or call.previous_response_id or observed.cut or not observed.chain:
            return []
        if not bounds(estimated.x).hold(tokens):
            return []
        weighing = self._models.weighing(observed.group, call)
        self._learn_media(weighing, observed, estimated.x, tokens)
        error = abs(estimated.estimate.input_tokens - tokens) / tokens
        weighing.model.remember_error(error, None if estimated.static is None else estimated.static != tokens)
        reasoning, seen = reported.reasoning_tokens or 0, weighing.model.seen
        self._anchors.keep(weighing.key, observed, estimated.x, tokens, reasoning, seen)
        row = Row(estimated.x, float(tokens))
        return self._models.learn(observed.group, call, row, estimated.estimate.input_tokens)

    def _head_tokens(self, weighing: Weighing, observed: Observed) -> float:
        """What a continued response has counted already: the tools, the instructions, the constant."""
        return dot(weighing.weights, observed.regressors(observed.beside))

    def _learn_media(
        self, weighing: Weighing, observed: Observed, x: Mapping[str, float], tokens: int
    ) -> None:
        media = observed.counted.media
        if not media or any(medium.digest != media[0].digest for medium in media):
            return
        expected = dot(weighing.weights, dict(media[0].costs))
        rest = dot(weighing.weights, x) - len(media) * expected
        cost = (tokens - rest) / len(media)
        # What a long rest was misjudged by isn't the medium's; and a formula knows a picture better.
        pictured = "image" in dict(media[0].costs) and abs(cost - expected) < _MISJUDGED
        if rest < cost < _MEDIA_MOST and not pictured:
            weighing.model.remember_media(media[0].digest, round(cost, 1))

    def estimate_output(self, call: Call, answer: Answer) -> int:
        """Tokens of an answer without usage, from its text, with what was learned of the model's text."""
        group = self._group(call)
        calls = "".join(f"{tool.name}{tool.arguments}" for tool in answer.tool_calls)
        plain = sum(tokenizer.count(text, group.encoding) for text in (answer.text, answer.reasoning, calls))
        weights = self._models.weighing(group, call).weights
        return round(plain * max(0.5, min(2.0, weights.get("text", 1.0))))

    def count_text(self, family: str, text: str) -> int:
        """Tokens of a text alone, as far as the family's encoding is known."""
        group = group_of(family, "", "", "", "openai_chat")
        weight = group.prior["text"].mean if "text" in group.prior and not group.exact else 1.0
        return round(tokenizer.count(text, group.encoding) * weight)

    def forget_weights(self) -> None:
        """Fits all weights anew when they are next needed: for judging with other priors."""
        self._models.forget_weights()

    def states(self) -> dict[str, bytes]:
        """Everything that was learned, to be kept: key → versioned bytes."""
        return self._models.states()

    def state(self, key: str) -> bytes:
        """One of `states`."""
        return self._models.state(key)

    def _group(self, call: Call) -> Group:
        return group_of(call.family, call.model or "", call.wire_format, call.place, "openai_chat")


def _plain(observed: Observed) -> int:
    """The plain count: tokens of all text, four a message, three before the answer."""
    counts = observed.counted.counts
    messages = sum(counts[INDEX[name]] for name in ("n_system", "n_user", "n_assistant"))
    return round(sum(counts[INDEX[name]] for name in _PLAIN) + 4 * messages + 3)


def _kind(observed: Observed, weighing: Weighing, static: int | None) -> EstimateKind:
    if observed.cut and not weighing.model.seen:
        return EstimateKind.PLAIN
    if static is not None and weighing.model.exact_holds and not observed.cut:
        return EstimateKind.EXACT
    if weighing.model.seen:
        return EstimateKind.CALIBRATED
    return EstimateKind.PRIOR if observed.group.fitted or weighing.group.seen else EstimateKind.PLAIN
