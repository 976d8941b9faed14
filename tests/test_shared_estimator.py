"""The estimator from several threads at once."""

from __future__ import annotations

import json
import threading

from kimi_mitm.engine.shared_estimator import SharedEstimator
from kimi_mitm.records import Answer, Usage
from kimi_mitm.tokens import Call


def call(text: str) -> Call:
    body = {"model": "kimi-k2.5", "messages": [{"role": "user", "content": text}]}
    return Call(
        provider="moonshotai",
        wire_format="openai.chat",
        body=json.dumps(body).encode(),
        model="kimi-k2.5",
        family="kimi",
        served_by="moonshotai",
    )


def test_threads_take_turns_and_what_is_learned_is_one_thing() -> None:
    estimator = SharedEstimator({})
    errors: list[BaseException] = []
    keys: set[str] = set()

    def work(number: int) -> None:
        try:
            for i in range(20):
                estimated = estimator.estimate(call(f"thread {number} asks {i} " * 10))
                estimator.turn(estimated, 90)
                keys.update(estimator.learn(estimated, Usage(input_tokens=90, output_tokens=2)))
                estimator.estimate_output(estimated.call, Answer(text="words"))
                estimator.states_of(tuple(keys))
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert errors == []
    assert keys
    states = estimator.states_of(keys)
    again = SharedEstimator(states)
    text = "thread 9 asks 9 " * 10
    expected = estimator.estimate(call(text)).estimate.input_tokens
    assert again.estimate(call(text)).estimate.input_tokens == expected
