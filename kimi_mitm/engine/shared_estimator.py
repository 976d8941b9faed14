"""The estimator, for several threads: the intake counts in its own, logs and upkeep come from others."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from kimi_mitm.records import Answer, Usage
from kimi_mitm.tokens import Call, Estimated, Estimator, Turn


class SharedEstimator(Estimator):
    """One thread at a time. A long prompt takes tens of milliseconds: an event loop had better ask from a
    thread."""

    def __init__(self, states: Mapping[str, bytes] | None = None) -> None:
        super().__init__(states)
        self._lock = threading.Lock()

    def estimate(self, call: Call) -> Estimated:
        with self._lock:
            return super().estimate(call)

    def turn(self, estimated: Estimated, input_tokens: int | None = None) -> Turn:
        with self._lock:
            return super().turn(estimated, input_tokens)

    def learn(
        self,
        estimated: Estimated,
        reported: Usage,
        *,
        response_id: str | None = None,
        answer: Answer | None = None,
    ) -> list[str]:
        with self._lock:
            return super().learn(estimated, reported, response_id=response_id, answer=answer)

    def estimate_output(self, call: Call, answer: Answer) -> int:
        with self._lock:
            return super().estimate_output(call, answer)

    def states_of(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Some of `states`, by key."""
        with self._lock:
            return {key: super(SharedEstimator, self).state(key) for key in keys}
