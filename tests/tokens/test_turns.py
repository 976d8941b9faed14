"""What is new in a prompt, by the longest common beginning of its messages."""

from __future__ import annotations

import pytest
from helpers_tokens import answer, chat, claude, said, user
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.tokens import Estimator
from kimi_mitm.tokens.turns import turn


def long(words: int) -> str:
    return "word " * words


def test_the_first_exchange_is_all_new() -> None:
    """There is no history."""
    first = Estimator().estimate(chat([user(long(100))], conversation="c"))

    assert first.turn.delta_tokens == first.estimate.input_tokens
    assert (first.turn.history_ratio, first.turn.is_noise) == (0.0, False)


def test_a_longer_prompt_is_new_by_what_was_added() -> None:
    """The answer and the next question."""
    estimator = Estimator()
    first, _ = answer(estimator, chat([user(long(100))], conversation="c"), 108)
    second = estimator.estimate(chat([user(long(100)), said("yes"), user(long(20))], conversation="c"))

    assert second.turn.delta_tokens == second.estimate.input_tokens - 108
    assert second.turn.history_ratio == pytest.approx(108 / second.estimate.input_tokens, abs=0.01)
    assert first.turn.delta_tokens == 108


def test_settled_figures_make_the_turn_exact() -> None:
    """The difference of two reported figures where nothing was cut."""
    estimator = Estimator()
    answer(estimator, claude([user(long(100))], conversation="c"), 120)
    second = estimator.estimate(claude([user(long(100)), said("yes"), user(long(20))], conversation="c"))

    assert estimator.turn(second, 160).delta_tokens == 40


def test_a_changed_beginning_is_no_history() -> None:
    """Subtraction alone would call it small."""
    estimator = Estimator()
    answer(estimator, chat([user(long(500))], conversation="c"), 508)
    other = estimator.estimate(chat([user("a summary of it all " + long(480))], conversation="c"))

    assert other.turn.delta_tokens == other.estimate.input_tokens


def test_a_shortened_prompt_is_history_up_to_the_cut() -> None:
    """After a compaction only the common beginning was there before."""
    estimator = Estimator()
    answer(estimator, chat([user(long(200)), said(long(200)), user(long(200))], conversation="c"), 620)
    cut = estimator.estimate(chat([user(long(200)), said(long(50))], conversation="c"))

    assert cut.turn.delta_tokens == pytest.approx(54, abs=6)


def test_a_side_call_between_two_turns_does_not_hide_the_history() -> None:
    """A title is asked for in the same conversation."""
    estimator = Estimator()
    answer(estimator, chat([user(long(300))], conversation="c"), 308)
    answer(estimator, chat([user("a title for this, please")], conversation="c"), 14)
    second = estimator.estimate(chat([user(long(300)), said("ok"), user("and now")], conversation="c"))

    assert second.turn.history_ratio > 0.9


def test_without_a_name_the_first_message_names_the_conversation() -> None:
    """Clients that send no id."""
    estimator = Estimator()
    answer(estimator, chat([user(long(300))]), 308)
    second = estimator.estimate(chat([user(long(300)), said("ok"), user("and now")]))

    assert second.turn.history_ratio > 0.9


def test_noise_is_mostly_history_in_a_long_prompt() -> None:
    """Above 70 % and 10,000 tokens."""
    assert turn(20_000, 15_000).is_noise
    assert not turn(20_000, 13_000).is_noise
    assert not turn(9_000, 8_900).is_noise


@given(st.integers(0, 10**7), st.floats(-1e6, 1e8))
@settings(deadline=None)
def test_a_turn_is_never_negative(total: int, history: float) -> None:
    """Whatever is taken for history."""
    found = turn(total, history)

    assert 0 <= found.delta_tokens <= total
    assert 0 <= found.history_ratio <= 1
