"""What counting costs: a request seen for the first time, and the next turn of the same conversation.

    python benchmarks/counting.py [--limit MS]

Bodies of an agent's conversation (prose, code and JSON) of 50 KB, 500 KB and 2 MB. CPU milliseconds, the best
of several rounds; trust the ratios, which come from one run. `parse` is what reading the body as JSON costs
alone. With `--limit` the exit code is 1 when the next turn of the 200,000-token conversation costs more.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable

import msgspec

from kimi_mitm.records import Usage
from kimi_mitm.tokens import Call, Estimator

# A conversation of some 200,000 tokens.
SIZE_OF_200K = 740_000
TURNS = 40
WORDS = [
    "the",
    "value",
    "returned",
    "by",
    "this",
    "function",
    "depends",
    "on",
    "whether",
    "the",
    "cache",
    "configuration",
    "was",
    "initialised",
    "when",
    "the",
    "request",
    "arrived",
    "and",
    "on",
    "how",
    "many",
    "database",
    "connections",
    "had",
    "expired",
    "before",
    "another",
    "component",
    "asked",
    "for",
    "them",
]
CODE = "    def {0}(self, {1}: int) -> list[str]:\n        return [str({1} + {2}) for _ in range({2})]\n"


def body(size: int, seed: int = 1) -> dict[str, object]:
    """A request of about `size` bytes, as coding agents send them."""
    chance = random.Random(seed)
    messages: list[dict[str, object]] = []
    length = 0
    while length < size:
        messages.append(message(chance, len(messages)))
        length += len(json.dumps(messages[-1]))
    tool = {"type": "object", "properties": {"path": {"type": "string", "description": "A file"}}}
    tools = [{"name": f"tool_{i}", "description": prose(chance, 60), "input_schema": tool} for i in range(20)]
    return {"model": "claude-sonnet-4-5", "system": prose(chance, 800), "tools": tools, "messages": messages}


def prose(chance: random.Random, words: int) -> str:
    """Words in a random order."""
    return " ".join(chance.choice(WORDS) for _ in range(words))


def message(chance: random.Random, place: int) -> dict[str, object]:
    """One message: the user's or a tool's on even places, the assistant's on odd ones."""
    if place % 2:
        call = {"type": "tool_use", "id": f"t{place}", "name": "tool_1", "input": {"path": f"src/{place}.py"}}
        return {"role": "assistant", "content": [{"type": "text", "text": prose(chance, 120)}, call]}
    lines = "".join(
        CODE.format(chance.choice(WORDS), chance.choice(WORDS), chance.randrange(100)) for _ in range(8)
    )
    record = json.dumps({chance.choice(WORDS): chance.randrange(100) for _ in range(20)})
    return {"role": "user", "content": [{"type": "text", "text": f"{prose(chance, 150)}\n{lines}\n{record}"}]}


def best(work: Callable[[], object], rounds: int) -> float:
    """CPU milliseconds of the fastest round."""
    spent = []
    for _ in range(rounds):
        started = time.process_time_ns()
        work()
        spent.append(time.process_time_ns() - started)
    return min(spent) / 1e6


def call(doc: dict[str, object]) -> Call:
    """The request as the engine hands it over."""
    encoded = msgspec.json.encode(doc)
    return Call(
        provider="anthropic",
        wire_format="anthropic.messages",
        body=encoded,
        model="claude-sonnet-4-5",
        family="claude",
        served_by="anthropic",
        conversation="benchmark",
    )


def measure(size: int) -> tuple[int, int, float, float, float, float]:
    """Messages, tokens, and the cost of parsing, of counting from scratch, of the next turn, of learning (the
    mean, because it is high where an answer surprises and low elsewhere)."""
    doc = body(size)
    messages = doc["messages"]
    assert isinstance(messages, list)
    chance = random.Random(2)
    first = call(doc)
    parse = best(lambda: msgspec.json.decode(first.body), 5)
    Estimator().estimate(first)
    scratch = best(lambda: Estimator().estimate(first), 3)
    estimator = Estimator()
    estimated = estimator.estimate(first)
    turns = []
    learning = []
    for _ in range(TURNS):
        started = time.process_time_ns()
        estimator.learn(estimated, Usage(input_tokens=round(1.08 * estimated.estimate.tiktoken_input_tokens)))
        learning.append((time.process_time_ns() - started) / 1e6)
        messages += [message(chance, 1), message(chance, 0)]
        following = call(doc)
        started = time.process_time_ns()
        estimated = estimator.estimate(following)
        turns.append((time.process_time_ns() - started) / 1e6)
    return (
        len(messages),
        estimated.estimate.tiktoken_input_tokens,
        parse,
        scratch,
        min(turns),
        sum(learning) / TURNS,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--limit", type=float, help="milliseconds for the next turn of 200,000 tokens")
    options = parser.parse_args()
    Estimator().warm()
    names = ("messages", "tokens", "parse", "scratch", "next turn", "ratio", "learn")
    print(f"{'body':>8}" + "".join(f"{name:>11}" for name in names))
    over = False
    for size in (50_000, 500_000, SIZE_OF_200K, 2_000_000):
        count, tokens, parse, scratch, turn, learn = measure(size)
        print(
            f"{size // 1000:>6}KB{count:>11}{tokens:>11,}{parse:>11.2f}{scratch:>11.1f}{turn:>11.2f}"
            f"{scratch / turn:>10.0f}x{learn:>11.2f}"
        )
        over |= bool(options.limit and size == SIZE_OF_200K and turn > options.limit)
    return int(over)


if __name__ == "__main__":
    sys.exit(main())
