"""Counters that are right, and warnings that say what to look at."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm import link
from kimi_mitm.control.metrics import FAMILIES
from kimi_mitm.engine import vitals
from kimi_mitm.records import Exchange, Problem, Source
from tests.engine_rig import EPOCH, Clock, Rig, chat_answer, engine


def ended(clock: Clock, **known: Any) -> Exchange:
    return Exchange(id="x", started_at=clock.now, provider="openai", **{"model": "gpt-4o", **known})


async def test_every_metric_is_known_to_the_endpoint_and_has_its_labels(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await rig.chat()
        found = rig.desk.vitals.metrics()

    assert found.keys() <= FAMILIES.keys()
    assert {"kimi_exchanges", "kimi_tokens", "kimi_cost_usd", "kimi_estimate_error_ratio"} <= found.keys()
    for name, values in found.items():
        for labels, value in values.items():
            assert len(labels) == len(FAMILIES[name].labels)
            assert math.isfinite(value)


async def test_exchanges_tokens_and_money_are_counted_by_model_and_outcome(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for _ in range(3):
            await rig.chat()
        n = await rig.open({"model": "gpt-4o", "messages": []})
        await rig.end(n, error="connection refused")
        found = rig.desk.vitals.metrics()

    assert found["kimi_exchanges"]["openai", "gpt-4o", "ok"] == 3
    assert found["kimi_exchanges"]["openai", "gpt-4o", "error"] == 1
    assert found["kimi_tokens"]["openai", "gpt-4o", "input"] == 36
    assert found["kimi_tokens"]["openai", "gpt-4o", "output"] == 9
    assert found["kimi_cost_usd"]["openai", "gpt-4o"] == pytest.approx(3 * 0.00006)
    assert rig.desk.vitals.exchanges == 4


async def test_what_is_under_way_is_counted_until_it_ends(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        first = await rig.open({"model": "gpt-4o", "messages": []})
        second = await rig.open({"model": "gpt-4o", "messages": []})
        during = rig.desk.vitals.under_way
        for n in (first, second):
            await rig.answer(n, chat_answer())
            await rig.end(n)

    assert (during, rig.desk.vitals.under_way) == (2, 0)


async def test_a_background_answer_is_counted_once_when_it_is_there(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await _background(rig)
        found = rig.desk.vitals.metrics()["kimi_exchanges"]
        under_way = rig.desk.vitals.under_way

    assert sum(found.values()) == 1
    assert under_way == 0


async def _background(rig: Rig) -> None:
    queued = {"id": "resp_1", "object": "response", "status": "queued", "model": "gpt-5", "usage": None}
    done = {**queued, "status": "completed", "output": [], "usage": {"input_tokens": 5, "output_tokens": 1}}
    settings = {"wire_format": "openai.responses"}
    n = await rig.open({"model": "gpt-5", "input": "x", "background": True}, path="/v1/responses", **settings)
    await rig.answer(n, json.dumps({**queued, "background": True}).encode())
    await rig.end(n)
    n = await rig.open(b"", path="/v1/responses/resp_1", method="GET", poll=True, **settings)
    await rig.answer(n, json.dumps(done).encode())
    await rig.end(n)


async def test_what_is_recorded_already_counts_after_a_restart(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        async with engine(tmp_path) as rig:
            await rig.chat()
            assert rig.desk.vitals.exchanges == expected


async def test_models_without_end_share_one_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "_MOST_MODELS", 5)
    async with engine(tmp_path) as rig:
        for i in range(20):
            rig.desk.vitals.recorded(ended(rig.clock, model=f"model-{i}"))
        found = rig.desk.vitals.metrics()["kimi_exchanges"]

    assert len({labels[:2] for labels in found}) == 6
    assert found["other", "other", "ok"] == 15


async def test_the_estimates_error_is_the_median_of_the_reported(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for estimate in (100, 110, 150):
            known = {"source": Source.USAGE, "is_estimated": False, "input_tokens": 100}
            rig.desk.vitals.recorded(ended(rig.clock, estimated_input_tokens=estimate, **known))
        rig.desk.vitals.recorded(ended(rig.clock, estimated_input_tokens=1, error=Problem("a", "b")))
        found = rig.desk.vitals.metrics()["kimi_estimate_error_ratio"]

    assert found == {("openai", "gpt-4o"): pytest.approx(0.1)}


async def test_all_well_says_nothing(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await rig.chat()

        assert rig.desk.vitals.warnings() == []
        assert rig.desk.vitals.dropped == 0


async def test_each_thing_to_look_at_is_one_sentence(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        rig.intake.handle(link.Lost(bodies=2, frames=1, hurried=3, restarts=4), b"")
        for _ in range(3):
            rig.intake.handle(link.Tls(host="pinned.example", at=EPOCH), b"")
        await rig.settle()
        warnings = rig.desk.vitals.warnings()

        assert rig.desk.vitals.dropped == 3
        assert len(warnings) == 4
        assert all(not w[0].islower() and w.endswith(".") for w in warnings)


async def test_a_fault_is_news_once_and_counted_always(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vitals, "_MOST_PLACES", 2)
    async with engine(tmp_path) as rig:
        found = [rig.desk.vitals.faulty(place) for place in ("a", "a", "b", "c", "d", "c")]
        warnings = rig.desk.vitals.warnings()

    assert found == [True, False, True, True, False, False]
    assert len(warnings) == 3
    assert "3 times" in warnings[-1]


async def test_uptime_is_by_the_engines_clock_and_never_negative(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        rig.clock.wait(60)
        assert rig.desk.vitals.uptime_s == 60
        rig.clock.wait(-120)
        assert rig.desk.vitals.uptime_s == 0
