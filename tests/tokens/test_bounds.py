"""Whatever a provider reports, an estimate stays near what is visible; true figures are believed again."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from helpers_tokens import answer, chat, claude, said, user
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.tokens import Call, Estimator
from kimi_mitm.tokens.bounds import anchored, bounds

LEAST, MOST, ADDED = 0.6, 3.0, 10_000
TEXT = "the value that this function returned depends on whether its cache was warm 17 times Ärger if(x)"
FIGURES = st.one_of(
    st.integers(0, 60),
    st.integers(1, 30_000),
    st.integers(1, 10**9),
    st.sampled_from([0, 1, 1000, 9_999, 50_000, 10**9]),
)


def prompt(size: int, kind: str) -> Call:
    """A text-only call of some `size` words."""
    chance, words = random.Random(size), TEXT.split()
    text = " ".join(chance.choice(words) for _ in range(size))
    if kind == "claude":
        return claude([user(text)])
    model, family = {"gpt": ("gpt-4o", "gpt"), "other": ("brand-new-1", "unknown")}[kind]
    return chat([user(text)], model=model, family=family)


def visible(estimator: Estimator, call: Call) -> int:
    """The o200k tokens of the call's only text, and 4 for its message."""
    return estimator.estimate(call).estimate.tiktoken_input_tokens - 3


@given(
    st.sampled_from(["claude", "gpt", "other"]),
    st.lists(st.tuples(st.integers(1, 3000), FIGURES), max_size=14),
    st.lists(st.integers(1, 3000), min_size=1, max_size=3),
)
@settings(deadline=None, max_examples=60)
def test_no_feedback_leads_away_from_what_is_visible(
    kind: str, feedback: list[tuple[int, int]], sizes: list[int]
) -> None:
    """At least 0.6 tokens for one of o200k's, at most three and 10,000."""
    estimator = Estimator()
    for size, tokens in feedback:
        answer(estimator, prompt(size, kind), tokens)

    for size in sizes:
        call = prompt(size, kind)
        plain = visible(estimator, call)
        tokens = estimator.estimate(call).estimate.input_tokens
        assert LEAST * (plain - 4) - 10 <= tokens + 1
        assert tokens - 1 <= MOST * (plain + 12) + ADDED


JUDGED = (500, 1500)


def answer_truly(estimator: Estimator, kind: str) -> None:
    """Six answers of a provider that counts 1.2 tokens for one, and 20 more."""
    for size in (40, 900, 300, 2000, 70, 1200):
        answer(estimator, call := prompt(size, kind), round(20 + 1.2 * visible(estimator, call)))


@given(
    st.sampled_from(["claude", "gpt", "other"]),
    st.lists(st.tuples(st.integers(1, 3000).filter(lambda size: size not in JUDGED), FIGURES), max_size=8),
)
@settings(deadline=None, max_examples=60)
def test_true_figures_are_believed_again(kind: str, feedback: list[tuple[int, int]]) -> None:
    """Whatever came before of other prompts, six true answers suffice for a tenth."""
    estimator = Estimator()
    for size, tokens in feedback:
        answer(estimator, prompt(size, kind), tokens)
    answer_truly(estimator, kind)

    for size in JUDGED:
        truth = round(20 + 1.2 * visible(estimator, prompt(size, kind)))
        found = estimator.estimate(prompt(size, kind)).estimate.input_tokens
        assert found == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("kind", ["claude", "gpt", "other"])
@pytest.mark.parametrize("slip", [365, 500, 1500, 9_000])
@pytest.mark.parametrize("times", [1, 8])
def test_a_slip_of_the_same_prompt_is_outgrown(kind: str, slip: int, times: int) -> None:
    """Its own figure stands against six true ones of others, when it is off by more than a quarter."""
    estimator = Estimator()
    for _ in range(times):
        answer(estimator, prompt(500, kind), slip)
    answer_truly(estimator, kind)

    truth = round(20 + 1.2 * visible(estimator, prompt(500, kind)))
    assert estimator.estimate(prompt(500, kind)).estimate.input_tokens == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("kind", ["claude", "gpt", "other"])
def test_a_prompt_that_counts_otherwise_than_others_is_believed(kind: str) -> None:
    """By less than a quarter: its own figure says more of it than those of others."""
    estimator = Estimator()
    truth = round(20 + 1.2 * visible(estimator, prompt(500, kind)))
    answer(estimator, prompt(500, kind), round(1.2 * truth))
    answer_truly(estimator, kind)

    found = estimator.estimate(prompt(500, kind)).estimate.input_tokens
    assert found == pytest.approx(1.2 * truth, rel=0.03)


@pytest.mark.parametrize("kind", ["claude", "gpt", "other"])
def test_a_provider_that_reports_a_tenth_teaches_nothing(kind: str) -> None:
    """A server that shortens prompts, or leaves out what it had cached."""
    estimator = Estimator()
    before = estimator.estimate(prompt(9000, kind)).estimate.input_tokens
    for size in (9000, 12_000, 14_000, 13_000):
        _, changed = answer(estimator, prompt(size, kind), 1000)
        assert changed == []

    assert estimator.estimate(prompt(9000, kind)).estimate.input_tokens == before


def test_a_prompt_that_goes_on_is_no_shorter_than_its_beginning() -> None:
    """Though the weights say so, after answers from a stranger."""
    estimator = Estimator()
    for size in (800, 1200, 1000, 900):
        answer(estimator, prompt(size, "claude"), round(0.75 * size))
    start = [user("tell me all of it " * 300)]
    answer(estimator, claude(start), 2400)

    longer = claude([*start, said("so it was " * 200), user("and then?")])

    assert estimator.estimate(longer).estimate.input_tokens >= 2400 + LEAST * 600 - 10


def test_what_goes_on_has_the_earlier_figure_and_its_own_part() -> None:
    """The bounds by themselves."""
    earlier = {"text": 1000.0, "const": 1.0, "n_user": 1.0}
    now = {"text": 1500.0, "const": 1.0, "n_user": 2.0}

    assert bounds(now).least == pytest.approx(890)
    assert anchored(now, earlier, 1300).least == pytest.approx(1300 + 300 - 10)
    assert not bounds(now).hold(800)
    assert not bounds(now).hold(15_000)


def test_reasoning_may_be_left_out_of_what_goes_on() -> None:
    """Providers drop it once the user speaks again."""
    earlier = {"text": 1000.0, "thought": 5000.0, "n_thought": 1.0}

    assert anchored({"text": 1500.0, "old_thought": 5000.0}, earlier, 6000).least == pytest.approx(890)


def test_what_is_no_text_has_no_upper_bound() -> None:
    """A file of a few bytes may be a thousand pages."""
    assert bounds({"text": 3.0, "n_file": 1.0}).hold(5_000_000)


def test_another_model_is_not_misled() -> None:
    """What a hostile model's answers did to their group is bounded, too."""
    estimator = Estimator()
    for size in (20, 2000, 1000, 40, 3000):
        answer(estimator, prompt(size, "claude"), 9_000)
    sister = replace(prompt(2000, "claude"), model="claude-opus-4-6")

    plain = visible(estimator, sister)
    assert LEAST * plain <= estimator.estimate(sister).estimate.input_tokens <= MOST * plain + ADDED
