"""A client of the tests: asks one LLM question as its environment tells it to, and says what it got.

`fake_client.py [exit code]`; with `--pid FILE` it writes its process's number there and ends with 7 on a
signal.
"""

import os
import signal
import sys

if "--pid" in sys.argv:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
    with open(sys.argv[-1], "w", encoding="utf-8") as file:
        file.write(str(os.getpid()))
    while True:
        signal.pause()

import httpx

body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
answer = httpx.post("https://api.openai.com/v1/chat/completions", json=body, timeout=60)
print(answer.json()["choices"][0]["message"]["content"], sys.stdin.read())
sys.exit(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
