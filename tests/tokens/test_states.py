"""What was learned survives a restart, and damage costs no more than the damaged state."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from helpers_tokens import answer, chat, claude, user
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.tokens import Estimator, learner, regression
from kimi_mitm.tokens.learner import Learned, StateError
from kimi_mitm.tokens.regression import Normal, Row


@pytest.fixture
def taught() -> Estimator:
    """An estimator that has learned of a model with a preamble of 300 tokens."""
    estimator = Estimator()
    for n in range(6):
        text = f"question {n} " * (n + 1)
        answer(estimator, claude([user(text)]), 300 + estimator.count_text("gpt", text))
    return estimator


def test_a_restart_forgets_nothing(taught: Estimator) -> None:
    """The same prompt, the same estimate and band."""
    again = Estimator(taught.states())

    ours, theirs = (e.estimate(claude([user("hello there")])).estimate for e in (taught, again))

    assert ours.input_tokens == pytest.approx(theirs.input_tokens, abs=2)
    assert ours.p90_error == theirs.p90_error
    assert again.faults == []


def test_changed_states_are_named(taught: Estimator) -> None:
    """They can be kept one by one."""
    _, changed = answer(taught, claude([user("hello")]), 301)

    kept = {key: taught.state(key) for key in changed}

    assert len(changed) == 2
    assert Estimator(kept).estimate(claude([user("hello")])).estimate.kind == "calibrated"


@pytest.mark.parametrize("damage", [b"", b"\x00", b"not a state", b"\xdc\xff\xff", b'{"v":1}'])
def test_a_damaged_state_starts_over_and_says_so(taught: Estimator, damage: bytes) -> None:
    """Only for that model; the others keep what they know."""
    answer(taught, chat([user("hello")]), 8)
    states = taught.states()
    broken = next(key for key in states if key.startswith("model|anthropic"))
    again = Estimator({**states, broken: damage})

    estimate = again.estimate(claude([user("hello there")])).estimate

    assert estimate.input_tokens > 0
    assert [fault for fault in again.faults if broken in fault]
    assert again.estimate(chat([user("hello")])).estimate.p90_error is None
    assert len(again.faults) == 1


def test_a_state_of_another_version_starts_over(taught: Estimator) -> None:
    """Its figures may mean something else."""
    state = msgspec.msgpack.decode(next(iter(taught.states().values())))
    state[0] = 999

    with pytest.raises(StateError, match="version 999"):
        learner.load(msgspec.msgpack.encode(state))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_state_with_impossible_figures_starts_over(value: float) -> None:
    """Such figures would poison every estimate."""
    learned = Learned()
    learned.rows = [Row({"text": 5.0}, value)]

    with pytest.raises((StateError, OverflowError, ValueError)):
        learner.load(learned.dump())


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_any_bytes_are_a_state_or_an_error(data: bytes) -> None:
    """Nothing else is raised."""
    try:
        learner.load(data)
    except StateError:
        return


@given(
    st.lists(
        st.one_of(
            st.integers(-(2**63), 2**63), st.floats(), st.text(max_size=3), st.lists(st.floats(), max_size=4)
        ),
        max_size=8,
    )
)
@settings(deadline=None)
def test_any_array_is_a_state_or_an_error(values: list[object]) -> None:
    """Wrong shapes, too."""
    try:
        learner.load(msgspec.msgpack.encode(values))
    except StateError:
        return


def test_old_answers_make_room() -> None:
    """A state stays small however long a model is used."""
    learned = Learned()
    for n in range(500):
        learned.learn(Row({"const": 1.0, "text": float(n)}, n + 7))
        learned.remember_error(0.01, True)
        learned.remember_media(str(n), 5.0)

    again = learner.load(learned.dump())

    assert (len(again.rows), len(again.errors), len(again.media), again.seen) == (80, 40, 64, 500)
    assert again.rows[-1] == Row({"const": 1.0, "text": 499.0}, 506.0)
    assert len(learned.dump()) < 8000


PRIOR = {"const": Normal(4, 10), "text": Normal(1, 0.1)}


def taught_rows(count: int) -> Learned:
    """A model whose prompts have 7 tokens more than their text."""
    learned = Learned()
    for n in range(count):
        learned.learn(Row({"const": 1.0, "text": 10.0 * n}, 10.0 * n + 7))
        learned.weights(PRIOR, 1.0, 0.006)
    return learned


def test_an_answer_that_was_foretold_costs_no_fit() -> None:
    """Once there are enough of them."""
    learned = taught_rows(40)
    fits = learned.revision

    learned.learn(Row({"const": 1.0, "text": 50.0}, 57))
    learned.weights(PRIOR, 1.0, 0.006)

    assert learned.settled
    assert learned.revision == fits
    assert fits < 30


@pytest.mark.parametrize(
    "row", [Row({"const": 1.0, "text": 50.0}, 61), Row({"const": 1.0, "text": 50.0, "digits": 3.0}, 57)]
)
def test_a_surprise_is_fitted_at_once(row: Row) -> None:
    """A figure beyond the noise, or something that no prompt had before."""
    learned = taught_rows(40)

    learned.learn(row)

    assert not learned.settled


def test_an_estimate_that_was_right_is_no_surprise() -> None:
    """It knew what the prompt's beginning had, which the weights don't."""
    learned = taught_rows(40)

    learned.learn(Row({"const": 1.0, "text": 50.0}, 95), estimate=95.4)

    assert learned.settled


def test_a_groups_only_model_is_fitted_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would learn the same from the same answers; a second model makes them differ."""
    fits = []
    fit = regression.fit
    monkeypatch.setattr(
        regression, "fit", lambda rows, *args, **more: fits.append(1) or fit(rows, *args, **more)
    )
    estimator = Estimator()

    answer(estimator, claude([user("hello there")]), 309)
    assert len(fits) == 1

    sister = replace(claude([user("hello there")]), model="claude-opus-4-6")
    answer(estimator, sister, 309)
    assert len(fits) > 2


def test_many_quiet_answers_are_fitted_in_the_end() -> None:
    """Small differences add up."""
    learned = taught_rows(40)
    fits = learned.revision

    for n in range(11):
        learned.learn(Row({"const": 1.0, "text": 40.0 + n}, 47.5 + n))
        learned.weights(PRIOR, 1.0, 0.006)

    assert learned.revision > fits


def test_a_state_is_the_same_however_often_it_was_dumped() -> None:
    """Rows are encoded once."""
    learned, often = taught_rows(100), Learned()
    for row in [Row({"old": 1.0}, 3), *taught_rows(100).rows]:
        often.learn(row)
        often.dump()

    assert learner.load(often.dump()).rows == learner.load(learned.dump()).rows


def test_many_models_do_not_fill_the_memory() -> None:
    """The oldest are put away as bytes, and come back when they're needed."""
    estimator = Estimator()
    for n in range(140):
        answer(estimator, chat([user("hello")], model=f"gpt-4o-ft-{n}"), 90)

    assert len(estimator._models._loaded) <= 256
    assert len(estimator.states()) == 141
