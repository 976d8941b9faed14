"""The join: ids first, else client, model, session and time; one to one, and never swapped."""

from __future__ import annotations

import random as randomly
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_mitm.fusion import join
from kimi_mitm.fusion.join import Joiner
from kimi_mitm.fusion.match import Fit, WireExchange, fit, log_exchange_id, wire_exchange
from kimi_mitm.fusion.nearby import Nearby
from kimi_mitm.fusion.outcomes import Ambiguous, Joined, OfSession, Waiting
from kimi_mitm.fusion.queue import Queue
from kimi_mitm.records import NO_USAGE, Exchange, Problem, Reading, Source, Usage

T0 = datetime(2026, 3, 2, 9, 0, 0, 1000, tzinfo=UTC)
LATER = T0 + timedelta(hours=1)


def moment(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def wire(name: str, start: float = 0, end: float | None = 1, **more: Any) -> WireExchange:
    models = frozenset([more.pop("model", "m1")])
    more.setdefault("client", "opencode")
    ended = None if end is None else moment(end)
    return WireExchange(id=name, started_at=moment(start), ended_at=ended, models=models, **more)


def log(key: str, at: float = 1.01, tokens: int | None = 100, **more: Any) -> Reading:
    more.setdefault("client", "opencode")
    more.setdefault("model", "m1")
    more.setdefault("usage", Usage(input_tokens=tokens, output_tokens=tokens and 10))
    return Reading(source=Source.LOGS, reported=True, at=moment(at), key=key, origin=f"file:{key}", **more)


def joiner(*exchanges: WireExchange) -> Joiner:
    made = Joiner()
    for exchange in exchanges:
        made.exchange(exchange)
    return made


def home(outcome: object) -> str | None:
    return outcome.exchange_id if isinstance(outcome, Joined) else None


def test_a_shared_id_ties_whatever_the_time_and_the_client() -> None:
    made = joiner(wire("a", client="unknown", response_id="msg_1"))

    got = made.reading(log("k", at=900, ids=("msg_1", "req_1")))

    assert isinstance(got, Joined)
    assert (got.exchange_id, got.reading.joined_by) == ("a", "id")


def test_a_request_id_ties_too() -> None:
    assert home(joiner(wire("a", ids=frozenset({"req_1"}))).reading(log("k", ids=("msg_1", "req_1")))) == "a"


def test_another_response_id_is_another_exchange() -> None:
    assert isinstance(joiner(wire("a", response_id="msg_2")).reading(log("k", ids=("msg_1",))), Waiting)


def test_ids_of_two_exchanges_are_ambiguous() -> None:
    made = joiner(wire("a", response_id="x"), wire("b", response_id="y"))

    got = made.reading(log("k", ids=("x", "y")))

    assert isinstance(got, Ambiguous)
    assert got.exchange_ids == ("a", "b")


@pytest.mark.parametrize(("late", "tied"), [(0.0, True), (5.0, True), (5.000001, False), (-0.3, False)])
def test_exactly_five_seconds_late_still_fits(late: float, tied: bool) -> None:
    assert home(joiner(wire("a")).reading(log("k", at=1 + late))) == ("a" if tied else None)


@pytest.mark.parametrize(
    "more",
    [
        {"client": "kilo-code"},
        {"model": "other"},
        {"client_session_id": "s2"},
        {"user": "bob"},
        {"usage": NO_USAGE, "problem": Problem("api_error", "overloaded")},
    ],
)
def test_another_client_model_session_or_user_does_not_fit(more: dict[str, Any]) -> None:
    made = joiner(wire("a", client_session_id="s1", user="alice"))

    assert isinstance(made.reading(log("k", **more)), Waiting)


def test_a_client_behind_a_library_fits_if_the_model_is_the_same() -> None:
    made = joiner(wire("a", client="anthropic-js", model="claude-sonnet-4-5"))

    assert home(made.reading(log("k1", client="continue", model=None))) is None
    assert home(made.reading(log("k2", client="continue", model="claude-sonnet-4-5"))) == "a"


@pytest.mark.parametrize("model", ["anthropic/m1", "M1", "m1-20250929", None])
def test_a_model_may_be_written_differently(model: str | None) -> None:
    assert home(joiner(wire("a")).reading(log("k", model=model))) == "a"


def test_one_exchange_takes_one_record_of_a_log() -> None:
    made = joiner(wire("a"))

    assert home(made.reading(log("k1"))) == "a"
    assert home(made.reading(log("k2"))) is None


def test_two_logs_of_a_client_may_both_have_it() -> None:
    made = joiner(wire("a"))

    assert home(made.reading(log("k1", log="tokens"))) == "a"
    assert home(made.reading(log("k2", log="prompts"))) == "a"


def test_of_exchanges_one_after_the_other_the_nearest_is_taken() -> None:
    made = joiner(wire("a", 0, 1), wire("b", 1.1, 2))

    assert home(made.reading(log("k2", at=2.02))) == "b"
    assert home(made.reading(log("k1", at=1.02))) == "a"


def test_simultaneous_exchanges_that_fit_equally_are_left_untied_and_said_so() -> None:
    got = joiner(wire("a", 0, 1), wire("b", 0.5, 1.5)).reading(log("k", at=1.6))

    assert isinstance(got, Ambiguous)
    assert got.exchange_ids == ("a", "b")
    assert "same time" in got.why


def test_equal_figures_tell_simultaneous_exchanges_apart() -> None:
    one, two = Usage(input_tokens=100, output_tokens=10), Usage(input_tokens=200, output_tokens=10)
    made = joiner(wire("a", 0, 1, usage=two), wire("b", 0.5, 1, usage=one))

    assert home(made.reading(log("k", at=1.1))) == "b"


def test_a_record_without_a_time_is_tied_by_equal_figures_or_not_at_all() -> None:
    usage = Usage(input_tokens=100, output_tokens=10)
    made = joiner(wire("a", 0, 1, usage=usage), wire("b", 2, 3))

    assert home(made.reading(log("k1", at=1800.0, undated=True))) == "a"
    assert isinstance(made.reading(log("k2", at=1800.0, tokens=7, undated=True)), Ambiguous)
    assert made.expire(LATER) == []


def test_equal_figures_tie_a_record_without_a_time_to_an_exchange_of_long_ago() -> None:
    """The session's file was written anew, or restored, days after the answer."""
    usage, days = Usage(input_tokens=100, output_tokens=10), 86_400.0
    made = joiner(wire("a", 0, 1, usage=usage), wire("b", 2, 3))
    later = joiner()

    assert home(made.reading(log("k1", at=9 * days, undated=True))) == "a"
    assert isinstance(made.reading(log("k2", at=9 * days, tokens=7, undated=True)), Waiting)
    assert isinstance(later.reading(log("k1", at=9 * days, undated=True)), Waiting)
    assert [home(j) for j in later.exchange(wire("a", 0, 1, usage=usage))] == ["a"]


def test_no_record_is_of_an_exchange_that_its_file_is_much_older_than() -> None:
    usage = Usage(input_tokens=100, output_tokens=10)
    made = joiner(wire("a", 86_400, 86_401, usage=usage))

    assert isinstance(made.reading(log("k", at=0, undated=True)), Waiting)


def test_a_record_is_not_of_an_exchange_that_began_after_it() -> None:
    made = joiner(wire("a", 0, 1), wire("b", 1.012, 1.1))

    assert home(made.reading(log("k", at=1.01))) == "a"


def test_side_traffic_yields_to_the_conversation() -> None:
    made = joiner(wire("title", 0, 1, side=True), wire("main", 0, 1.2))

    assert home(made.reading(log("k", at=1.3))) == "main"


def test_a_record_waits_while_its_exchange_runs() -> None:
    made = joiner(wire("a", 0, None))

    assert isinstance(made.reading(log("k", at=1.0)), Waiting)
    assert [home(j) for j in made.exchange(wire("a", 0, 0.99))] == ["a"]


def test_a_record_of_the_requests_start_need_not_wait() -> None:
    made = joiner(wire("a", 1.2, None))

    assert home(made.reading(log("k", at=1.0, started_at=moment(1.0)))) == "a"


def test_the_wait_ends_when_an_id_is_known() -> None:
    made = joiner(wire("a", 0, None))
    made.reading(log("k", at=400.0, ids=("msg_1",)))

    got = made.exchange(wire("a", 0, None, response_id="msg_1"))

    assert [(home(j), j.reading.joined_by) for j in got] == [("a", "id")]


def test_what_is_left_over_ties_what_was_ambiguous() -> None:
    made = joiner(wire("a", 0, 1, usage=Usage(input_tokens=7)), wire("b", 0.5, 1.5))
    made.reading(log("k2", at=1.6, usage=Usage(output_tokens=3)))

    made.reading(log("k1", at=1.1, usage=Usage(input_tokens=7)))

    assert [(j.reading.key, j.exchange_id) for j in made.late()] == [("k2", "b")]


def test_a_record_whose_figures_differ_is_tied_only_in_the_end() -> None:
    made = joiner(wire("a", usage=Usage(input_tokens=7, output_tokens=7)))

    assert isinstance(made.reading(log("k")), Waiting)
    assert made.expire(LATER) == []
    assert [home(j) for j in made.late()] == ["a"]


def test_a_record_that_met_no_exchange_stands_alone_after_a_while() -> None:
    made = joiner()
    reading = log("k", at=1.0)
    made.reading(reading)

    assert made.expire(moment(30.9)) == []
    assert made.expire(moment(31)) == [reading]
    assert made.expire(LATER) == []


def test_another_logs_record_of_a_call_that_stands_alone_is_tied_to_it() -> None:
    made = joiner()
    first, second = log("k1", log="tokens"), log("k2", at=1.2, log="prompts")
    made.reading(first)
    made.reading(second)

    assert made.expire(LATER) == [first]
    assert [(home(j), j.reading.key) for j in made.late()] == [(log_exchange_id(first), "k2")]


def test_an_exchange_that_an_earlier_run_made_of_a_log_takes_no_further_record_by_time() -> None:
    assert home(joiner(wire("log:k1")).reading(log("k2"))) is None


def test_a_cut_stream_may_have_a_record_but_an_error_status_may_not() -> None:
    cut = Exchange(
        id="a",
        started_at=moment(0),
        ended_at=moment(1),
        client="opencode",
        model="m1",
        status=200,
        error=Problem("aborted", ""),
    )

    assert home(joiner(wire_exchange(cut)).reading(log("k"))) == "a"
    assert home(joiner(wire_exchange(replace(cut, status=529))).reading(log("k"))) is None


@pytest.mark.parametrize("source", [Source.COMPILE_CHAT, Source.API_ERROR])
def test_an_errors_figures_are_not_of_an_exchange_that_went_well(source: Source) -> None:
    stated = replace(log("k", usage=Usage(input_tokens=9), problem=Problem("too_long", "")), source=source)

    assert home(joiner(wire("a")).reading(stated)) is None
    assert home(joiner(wire("a", failed=True, troubled=True)).reading(stated)) == "a"


def test_the_wires_figures_are_those_that_the_provider_reported_there() -> None:
    seen = Exchange(
        id="a", started_at=moment(0), input_tokens=5, output_tokens=6, model="x", response_model="y"
    )

    assert wire_exchange(seen).usage == NO_USAGE
    assert wire_exchange(replace(seen, source=Source.USAGE, via="logs")).usage == NO_USAGE
    usage = wire_exchange(replace(seen, source=Source.USAGE)).usage
    assert (usage.input_tokens, usage.output_tokens) == (5, 6)
    assert wire_exchange(seen).models == {"x", "y"}


def test_ambiguous_records_are_counted_and_make_no_exchange() -> None:
    made = joiner(wire("a", 0, 1), wire("b", 0.5, 1.5))
    made.reading(log("k", at=1.6))

    assert made.expire(LATER) == []
    assert (made.counts.ambiguous, made.late()) == (1, [])


def test_an_exchange_that_runs_for_ever_is_not_the_records_in_the_end() -> None:
    made = joiner(wire("a", 0, None))
    reading = log("k")
    made.reading(reading)

    assert made.expire(LATER) == [reading]


def test_a_record_read_again_replaces_itself() -> None:
    made = joiner(wire("a"))
    made.reading(log("k"))

    got = made.reading(log("k", at=999, tokens=120))

    assert isinstance(got, Joined)
    assert (got.exchange_id, got.replaced, got.moved_from) == ("a", True, None)
    assert made.counts.by_time == 1


def test_an_id_learnt_later_moves_a_record() -> None:
    made = joiner(wire("a"))
    made.reading(log("k"))
    made.exchange(wire("b", 0, 1, response_id="msg_1"))

    got = made.reading(log("k", ids=("msg_1",)))

    assert isinstance(got, Joined)
    assert (got.exchange_id, got.moved_from, got.reading.joined_by) == ("b", "a", "id")


def test_an_exchange_of_the_log_gives_way_to_the_wire() -> None:
    made = joiner()
    reading = log("k", ids=("msg_1",))
    made.reading(reading)
    made.expire(LATER)

    got = made.exchange(wire("a", 0, 1, response_id="msg_1"))

    assert [(j.exchange_id, j.moved_from) for j in got] == [("a", log_exchange_id(reading))]


def test_a_record_that_names_nobody_is_not_given_to_one_user_of_several() -> None:
    made = joiner(wire("a", user="alice"), wire("b", 100, 101, user="bob"))

    assert home(made.reading(log("k"))) is None
    assert home(made.reading(log("k2", user="alice"))) == "a"


def test_a_title_is_about_the_session() -> None:
    assert isinstance(joiner().reading(log("k", usage=NO_USAGE, title="Fix it")), OfSession)


def test_a_failure_is_not_tied_to_an_answer_nor_an_answer_to_a_failure() -> None:
    made = joiner(wire("a", failed=True), wire("b", 1.2, 2.2))

    assert home(made.reading(log("k", at=2.3))) == "b"
    assert home(made.reading(log("e", at=2.4, usage=NO_USAGE, problem=Problem("x", "y")))) == "a"


_calls = st.lists(
    st.tuples(
        st.integers(0, 40),  # start, tenths of a second
        st.integers(1, 30),  # duration
        st.integers(0, 20),  # how late the record is written
        st.integers(1, 3),  # figures
        st.sampled_from(["s1", "s2", None]),
        st.booleans(),  # usage on the wire
    ),
    min_size=2,
    max_size=6,
)


@settings(deadline=None)
@given(_calls, st.integers(0, 2**16))
def test_simultaneous_exchanges_never_swap_records(calls: list[Any], seed: int) -> None:
    """All run at once; whatever ties is right, unless figures that are equal tie equal records."""
    made, records = Joiner(), {}
    for number, (start, length, late, tokens, session, seen) in enumerate(calls):
        usage = Usage(input_tokens=1000 + tokens, output_tokens=number + 1)
        exchange = wire(
            f"e{number}",
            start / 10,
            5 + length / 10,
            client_session_id=session,
            usage=usage if seen else NO_USAGE,
        )
        made.exchange(replace(exchange, ended_at=None, usage=NO_USAGE))
        made.exchange(exchange)
        records[f"k{number}"] = log(
            f"k{number}", at=5 + (length + late) / 10, usage=usage, client_session_id=session
        )
    keys = list(records)
    randomly.Random(seed).shuffle(keys)

    outcomes: list[object] = [made.reading(records[key]) for key in keys]
    outcomes += made.late()

    for outcome in outcomes:
        if isinstance(outcome, Joined):
            assert outcome.exchange_id[1:] == outcome.reading.key[1:]


@settings(deadline=None)
@given(_calls, st.integers(0, 2**16))
def test_reading_everything_again_changes_nothing(calls: list[Any], seed: int) -> None:
    made = Joiner()
    records = []
    for number, (start, length, late, tokens, session, _) in enumerate(calls):
        made.exchange(wire(f"e{number}", start, start + length, client_session_id=session))
        records.append(
            log(f"k{number}", at=start + length + late / 10, tokens=tokens, client_session_id=session)
        )
    for record in records:
        made.reading(record)
    made.expire(LATER)
    made.late()
    homes = {key: place[0] for key, place in made._homes.items()}

    for record in records:
        made.reading(record)
    made.expire(LATER)

    assert {key: place[0] for key, place in made._homes.items()} == homes
    assert len(set(homes.values())) == len(homes)


def test_memory_is_bounded() -> None:
    made = Joiner()
    for number in range(21_000):
        made.exchange(wire(f"e{number}", number, number + 1))
        made.reading(log(f"k{number}", at=number, client="nobody"))

    assert len(made._exchanges) == 20_000
    assert len(made._waiting) == 20_000
    assert len(made._near._spans) == 20_000
    assert len(made.expire(LATER + timedelta(days=1))) == 21_000
    assert made.counts.dropped == 0


def test_records_of_one_log_that_stand_alone_are_not_compared_with_each_other(monkeypatch) -> None:
    """A thousand at one time would take a minute."""
    compared: list[str] = []
    monkeypatch.setattr(join, "fit", lambda reading, *rest: compared.append(reading.key))
    made = joiner()
    for number in range(20):
        made.reading(log(f"k{number}", at=1.0))

    assert len(made.expire(LATER)) == 20
    assert compared == []


class OneByOne(Queue):
    """Decides every waiting record by itself."""

    def put(self, reading: Reading, *, alone: bool, like: bool) -> None:
        super().put(reading, alone=True, like=False)


class Plain(Joiner):
    """The join without its short cuts: every exchange near a record is looked at, for each record."""

    def __post_init__(self) -> None:
        self._waiting = OneByOne(self.window)

    def _section(self, exchange: WireExchange) -> tuple[str, frozenset[str]]:
        return "unknown", frozenset()


VARIED: dict[str, list[Any]] = {
    "client": ["a", "unknown", "b"],
    "log": ["l1", "l2"],
    "session": [None, "s1", "s2"],
    "model": ["m1", "m2", None],
    "user": [None, "u1", "u2"],
    "id": [None, "i1", "i2", "i3"],
    "at": [1, 0, 4],
    "start": [0, 1, 3],
    "end": [1, None, 2],
    "begun": [None, 1, 0],
    "undated": [False, True],
    "reported": [True, False],
    "side": [None, True],
    "problem": [None, Problem("api_error", "overloaded")],
    "failed": [False, True],
    "input": [5, 0, 1, None, 6, 7, 8, 9],
    "output": [3, 0, 1, None],
}


class World:
    """Exchanges and records that are alike in most things: what may differ is drawn with the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = randomly.Random(seed)
        share = self.rng.choice([0.1, 0.3, 0.6])
        self.values = {name: v if self.rng.random() < share else v[:1] for name, v in VARIED.items()}
        self.values["input"] = VARIED["input"]
        self.names = self.rng.choice([3, 10, 40])

    def draw(self, name: str) -> Any:
        return self.rng.choice(self.values[name])

    def usage(self) -> Usage:
        return Usage(input_tokens=self.draw("input"), output_tokens=self.draw("output"))

    def key(self) -> str:
        return f"k{self.rng.randrange(self.names):02}"

    def exchange_id(self) -> str:
        return f"{self.rng.choice(['e', 'e', 'e', 'log:k'])}{self.rng.randrange(self.names):02}"

    def exchange(self) -> WireExchange:
        start, length = self.draw("start"), self.draw("end")
        return wire(
            self.exchange_id(),
            start,
            None if length is None else start + length,
            client=self.draw("client"),
            model=self.draw("model") or "m1",
            user=self.draw("user"),
            client_session_id=self.draw("session"),
            usage=self.rng.choice([NO_USAGE, self.usage()]),
            response_id=self.draw("id"),
            failed=self.draw("failed"),
        )

    def record(self) -> Reading:
        begun = self.draw("begun")
        record = log(
            self.key(),
            self.draw("at"),
            client=self.draw("client"),
            log=self.draw("log"),
            model=self.draw("model"),
            user=self.draw("user"),
            client_session_id=self.draw("session"),
            usage=self.usage(),
            ids=tuple({i for i in (self.draw("id"), self.draw("id")) if i}),
            started_at=None if begun is None else moment(begun),
            undated=self.draw("undated"),
            side=self.draw("side"),
            problem=self.draw("problem"),
        )
        return replace(record, reported=self.draw("reported"))


@settings(deadline=None, max_examples=600)
@given(st.integers(0, 2**32), st.sampled_from([0.2, 0.5, 0.8]), st.booleans())
def test_decisions_do_not_depend_on_what_is_looked_up(seed: int, records: float, little: bool) -> None:
    """Records in groups and exchanges by client and log, or each by itself: the outcomes are the same."""
    world, made, plain = World(seed), Joiner(), Plain()
    with pytest.MonkeyPatch.context() as patch:
        if little:
            patch.setattr(join, "_MOST_KEYS", 3)
        for step in range(40):
            kind = world.rng.random()
            if kind < 0.05:
                now = moment(world.rng.choice([31, 32, 3600]))
                assert made.expire(now) == plain.expire(now)
            elif kind < 0.1:
                home = world.key(), world.exchange_id(), "time"
                made.remember(*home)
                plain.remember(*home)
            elif world.rng.random() < (records if step < 20 else 1 - records):
                record = world.record()
                assert made.reading(record) == plain.reading(record)
            else:
                exchange = world.exchange()
                assert made.exchange(exchange) == plain.exchange(exchange)
            assert made.late() == plain.late()

        assert made.expire(LATER) == plain.expire(LATER)
        assert made.late() == plain.late()
        assert (made.counts, made._homes) == (plain.counts, plain._homes)


def test_no_figures_are_not_figures_of_zero() -> None:
    made = Joiner()
    made.reading(log("k1", usage=NO_USAGE, side=False))
    made.reading(log("k2", usage=Usage(input_tokens=0, output_tokens=0)))
    for name in ("a", "b"):
        made.exchange(wire(name, end=None))
    made.exchange(wire("b", usage=Usage(input_tokens=5, output_tokens=5)))

    got = made.exchange(wire("a", usage=Usage(input_tokens=0, output_tokens=0)))

    assert {found.reading.key: found.exchange_id for found in got} == {"k2": "a", "k1": "b"}


def test_a_record_whose_ids_are_of_two_exchanges_does_not_speak_for_others() -> None:
    made = joiner(wire("a", response_id="x"), wire("b", response_id="y"))
    made.reading(log("k1", ids=("x", "y")))
    made.reading(log("k2", ids=("z",)))

    got = made.exchange(wire("c"))

    assert [(found.reading.key, found.exchange_id) for found in got] == [("k2", "c")]


def test_records_are_decided_in_the_order_of_their_keys() -> None:
    """The first could be of either exchange; the second has an id; what is left is the third's."""
    made = Joiner()
    for key, ids in (("k1", ()), ("k2", ("x",)), ("k3", ())):
        made.reading(log(key, ids=ids))
    made.exchange(wire("a", end=None))
    made.exchange(wire("b", end=None))
    made.exchange(wire("b"))

    got = made.exchange(wire("a", response_id="x"))

    assert [(found.reading.key, found.exchange_id) for found in got] == [("k2", "a"), ("k3", "b")]


def alone(number: int) -> list[Reading]:
    return [log(f"k{n}", tokens=n) for n in range(number)]


def of_two_logs(number: int) -> list[Reading]:
    return [log(f"{name}{n}", tokens=n, log=name) for n in range(number // 2) for name in ("a", "b")]


def of_sessions(number: int) -> list[Reading]:
    return [log(f"k{n}", tokens=n, client_session_id=f"s{n}", ids=(f"i{n}",)) for n in range(number)]


@pytest.mark.parametrize("exchanges", [0, 10])
@pytest.mark.parametrize("records", [alone, of_two_logs, of_sessions])
def test_twice_as_many_records_of_one_time_are_twice_the_work(
    records: Callable[[int], list[Reading]], exchanges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def counted(*of: Any) -> Fit | None:
        nonlocal looks
        looks += 1
        return fit(*of)

    class Counted(Nearby[Any, Any]):
        def between(self, *of: Any) -> Iterator[Any]:
            nonlocal looks
            found = list(super().between(*of))
            looks += len(found)
            return iter(found)

    def work(number: int) -> int:
        nonlocal looks
        made, looks = Joiner(_near=Counted()), 0
        made._waiting._near = Counted()
        for record in records(number):
            made.reading(record)
        for name in range(exchanges):
            made.exchange(wire(f"e{name}", end=None))
            made.exchange(wire(f"e{name}", usage=Usage(input_tokens=number + name, output_tokens=10)))
        made.expire(LATER)
        assert len(made._waiting) == 0
        return looks

    monkeypatch.setattr(join, "fit", counted)

    assert work(400) <= 2.1 * work(200)
