"""The hub: one ring, a place in it per reader, nobody slowed by anybody."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from kimi_mitm.events import Event, Hub, Subscription, TooManyReaders

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def hub(**settings: int) -> Hub:
    return Hub(heartbeat_s=0, clock=lambda: AT, **settings)


def numbers(events: list[Event]) -> list[int]:
    return [msgspec.json.decode(event.json)["data"]["n"] for event in events]


async def test_an_event_is_an_object_and_a_frame() -> None:
    event = hub().publish("session:started", {"name": "a\nb"})

    assert msgspec.json.decode(event.json) == {
        "id": event.id,
        "type": "session:started",
        "at": "2026-03-01T12:00:00.000000Z",
        "data": {"name": "a\nb"},
    }
    lines = event.frame.decode().split("\n")
    assert lines == [f"id: {event.id}", "event: session:started", f"data: {event.json.decode()}", "", ""]


async def test_a_reader_starts_with_the_next_event() -> None:
    one = hub()
    one.publish("alert", {"n": 1})

    with one.subscribe() as reader:
        one.publish("alert", {"n": 2})
        one.publish("alert", {"n": 3})

        assert numbers(await reader.batch()) == [2, 3]


async def test_a_waiting_reader_is_woken() -> None:
    one = hub()
    with one.subscribe() as reader:
        waiting = asyncio.ensure_future(reader.batch())
        await asyncio.sleep(0)
        one.publish("alert", {"n": 1})

        assert numbers(await waiting) == [1]


async def test_a_batch_is_bounded_and_goes_on_where_it_stopped() -> None:
    one = hub()
    with one.subscribe() as reader:
        for n in range(10):
            one.publish("alert", {"n": n})

        assert numbers(await reader.batch(4)) == [0, 1, 2, 3]
        assert numbers(await reader.batch(100)) == [4, 5, 6, 7, 8, 9]


async def test_every_reader_gets_the_same_encoded_object() -> None:
    one = hub()
    with one.subscribe() as first, one.subscribe() as second:
        one.publish("alert", {"n": 1})

        assert (await first.batch())[0] is (await second.batch())[0]


async def test_coming_back_goes_on_after_the_last_id() -> None:
    one = hub()
    last = one.publish("alert", {"n": 1})
    one.publish("alert", {"n": 2})

    with one.subscribe(last.id) as reader:
        assert numbers(await reader.batch()) == [2]


async def test_a_place_is_the_id_to_come_back_with() -> None:
    one = hub()
    with one.subscribe() as reader:
        place = reader.place
    one.publish("alert", {"n": 1})

    with one.subscribe(place) as reader:
        assert numbers(await reader.batch()) == [1]


async def test_a_reader_that_falls_behind_is_reset_and_then_goes_on() -> None:
    one = hub(ring_events=4)
    with one.subscribe() as reader:
        for n in range(5):
            one.publish("alert", {"n": n})

        (reset,) = await reader.batch()
        one.publish("alert", {"n": 9})

        assert reset.type == "reset"
        assert numbers(await reader.batch()) == [9]


async def test_a_reader_exactly_at_the_rings_end_is_not_reset() -> None:
    one = hub(ring_events=4)
    with one.subscribe() as reader:
        for n in range(4):
            one.publish("alert", {"n": n})

        assert numbers(await reader.batch()) == [0, 1, 2, 3]


async def test_the_resets_id_is_one_to_come_back_with() -> None:
    one = hub(ring_events=2)
    with one.subscribe() as reader:
        for n in range(3):
            one.publish("alert", {"n": n})
        (reset,) = await reader.batch()
    one.publish("alert", {"n": 9})

    with one.subscribe(reset.id) as reader:
        assert numbers(await reader.batch()) == [9]


@pytest.mark.parametrize(
    "last_id",
    [
        "",
        "x",
        "-",
        "1",
        "-1",
        "deadbeef-1",
        "{run}-",
        "{run}-x",
        "{run}--1",
        "{run}-99",
        "{run}-" + "9" * 5000,
    ],
)
async def test_an_id_that_is_not_ours_gives_a_reset(last_id: str) -> None:
    one = hub()
    run = one.publish("alert", {"n": 1}).id.rpartition("-")[0]

    with one.subscribe(last_id.replace("{run}", run)) as reader:
        assert [event.type for event in await reader.batch()] == ["reset"]


async def test_an_earlier_process_id_gives_a_reset() -> None:
    before = hub().publish("alert", {"n": 1})
    now = hub()
    now.publish("alert", {"n": 1})

    with now.subscribe(before.id) as reader:
        assert [event.type for event in await reader.batch()] == ["reset"]


async def test_the_ring_is_bounded_in_bytes_and_keeps_the_newest() -> None:
    one = hub(ring_bytes=1000)
    with one.subscribe() as reader:
        one.publish("alert", {"text": "x" * 400})
        one.publish("alert", {"text": "x" * 4000, "n": 2})

        assert [event.type for event in await reader.batch()] == ["reset"]
        assert one.oldest == one.newest == 2


async def test_closing_a_reader_ends_its_waiting() -> None:
    one = hub()
    reader = one.subscribe()
    waiting = asyncio.ensure_future(reader.batch())
    await asyncio.sleep(0)
    reader.close()

    assert await waiting == []
    assert one.readers == 0


async def test_closing_the_hub_ends_all_and_later_readers_at_once() -> None:
    one = hub()
    readers = [one.subscribe() for _ in range(3)]
    one.close()

    assert [await reader.batch() for reader in readers] == [[], [], []]
    assert await one.subscribe().batch() == []
    one.publish("alert", {})


async def test_a_cancelled_reader_can_read_again() -> None:
    one = hub()
    with one.subscribe() as reader:
        waiting = asyncio.ensure_future(reader.batch())
        await asyncio.sleep(0)
        waiting.cancel()
        one.publish("alert", {"n": 1})

        assert numbers(await reader.batch()) == [1]


async def test_there_is_a_limit_to_readers() -> None:
    one = hub(max_readers=2)
    first = one.subscribe()
    one.subscribe()

    with pytest.raises(TooManyReaders, match="2 readers"):
        one.subscribe()
    first.close()
    one.subscribe()


async def test_heartbeats_come_while_somebody_listens_and_stop_with_the_last() -> None:
    one = Hub(heartbeat_s=0.01)
    with one.subscribe() as reader:
        assert [event.type for event in await reader.batch()] == ["heartbeat"]
        assert [event.type for event in await reader.batch()] == ["heartbeat"]
    await asyncio.sleep(0.05)
    newest = one.newest
    await asyncio.sleep(0.05)

    assert one.newest == newest


async def test_values_that_json_lacks_are_told_as_text() -> None:
    event = hub().publish("alert", {"at": AT})

    assert msgspec.json.decode(event.json)["data"]["at"].startswith("2026-03-01")


async def test_publishing_to_a_thousand_sleeping_readers_is_quick() -> None:
    one = hub()
    readers: list[Subscription] = [one.subscribe() for _ in range(1000)]
    start = asyncio.get_running_loop().time()
    for n in range(1000):
        one.publish("alert", {"n": n})
    took = asyncio.get_running_loop().time() - start

    assert took < 5.0
    assert len(await readers[0].batch()) == 1
