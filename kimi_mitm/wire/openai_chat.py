"""OpenAI's Chat Completions, and everything that calls itself compatible with it.

Read beyond OpenAI's own: usage in `x_groq` (Groq), in a choice (Moonshot), in each chunk
(Perplexity, Databricks: nulls between); content as parts (Mistral, Databricks) or as an object
(Cloudflare, which wraps it all in `result`) or under `messages` (Snowflake); reasoning under four names;
errors in a choice (OpenRouter) and in `base_resp` (MiniMax).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kimi_mitm.records import Operation, Problem, Request, Usage
from kimi_mitm.wire import problem
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.model_path import model_of_path
from kimi_mitm.wire.openai_usage import merge, usage
from kimi_mitm.wire.values import body, count, digits, dump, first, get, items, text

_MEDIA = frozenset({"image_url", "input_audio", "video_url", "file", "document_url", "image"})
_SEARCHES = ("web_search_options", "search_parameters", "plugins")
_SCHEMAS = frozenset({"json_schema", "json_object"})


def read_request(data: bytes, target: Target) -> Request:
    """What the body says; raises `WireError` where it is no JSON object."""
    doc = body(data)
    messages = items(doc.get("messages"))
    hidden = {"remote_media"} if any(_has_remote_media(message) for message in messages) else set()
    if any(doc.get(name) is not None for name in _SEARCHES):
        hidden.add("server_tools")
    return Request(
        model=text(doc.get("model")) or model_of_path(target.path),
        stream=doc.get("stream") is True,
        hidden=frozenset(hidden),
        max_output_tokens=count(first(doc, "max_completion_tokens", "max_tokens")),
        output_schema=get(doc, "response_format", "type") in _SCHEMAS,
        tool_count=len(items(doc.get("tools"))) or len(items(doc.get("functions"))),
        message_count=len(messages),
    )


def _has_remote_media(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, list) and any(_is_remote(part) for part in content)


def _is_remote(part: Any) -> bool:
    kind = text(part.get("type")) if isinstance(part, dict) else None
    if kind not in _MEDIA:
        return False
    source = part.get(kind)
    url = first(source, "url", "file_url") if isinstance(source, dict) else source
    return (isinstance(url, str) and url.startswith("http")) or bool(get(source, "file_id"))


class ChatReader(Draft):
    """Reads chat completions and, as they share all but one field, text completions."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status, headers)
        self._stated: dict[str, Any] = {}

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        choices = doc.get("choices")
        if choices is None and isinstance(doc.get("result"), dict):
            doc = doc["result"]
            choices = doc.get("choices")
            self._cloudflare(doc)
        if not self.response_id:
            self.response_id = text(doc.get("id"))
        if not self.response_model:
            self.response_model = text(doc.get("model"))
        self._use(doc.get("usage"))
        if "base_resp" in doc:
            self._minimax(doc["base_resp"])
        if "x_groq" in doc:
            self._use(get(doc, "x_groq", "usage"))
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict):
                    self._choice(choice)

    def usage(self) -> Usage:
        google = "gemini" in (self.response_model or "")
        found = usage(self._stated, hides_thinking=google)
        return found if found else self._usage_of_headers()

    def _choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index")
        index = index if isinstance(index, int) else 0
        finish = text(choice.get("finish_reason"))
        if finish:
            self.complete = True
            if index == 0 or not self.finish_reason:
                self.finish_reason = finish
        if "usage" in choice:
            self._use(choice["usage"])
        if choice.get("error"):
            self.fail(problem.read(choice, "error"))
        message = choice.get("delta")
        if not isinstance(message, dict):
            message = choice.get("message")
        if isinstance(message, dict):
            self._message(message, index)
        else:
            self.say(first(choice, "text", "messages"))

    def _message(self, message: dict[str, Any], index: int) -> None:
        content = message.get("content")
        if isinstance(content, str):
            self.say(content)
        elif content is not None:
            self._content(content)
        if len(message) <= 2 and "content" in message:
            return
        self.think(first(message, "reasoning_content", "reasoning", "reasoning_text", "thinking"))
        self.say(message.get("refusal"))
        self.say(get(message, "audio", "transcript"))
        for call in items(message.get("tool_calls")):
            self._call(call, index)
        legacy = message.get("function_call")
        if isinstance(legacy, dict):
            self.call(f"{index}", legacy.get("name"), legacy.get("arguments"))

    def _call(self, call: Any, index: int) -> None:
        if not isinstance(call, dict):
            return
        function = first(call, "function", "custom")
        place = call.get("index")
        key = f"{index}:{place}" if isinstance(place, int) else text(call.get("id"))
        arguments = first(function, "arguments", "input")
        self.call(key, text(get(function, "name")), arguments, text(call.get("id")))

    def _content(self, content: Any) -> None:
        if isinstance(content, dict):
            self.say(dump(content))
        for part in items(content):
            if not isinstance(part, dict):
                self.say(part)
            elif part.get("type") in ("thinking", "reasoning"):
                for piece in items(first(part, "thinking", "summary")):
                    self.think(get(piece, "text"))
            else:
                self.say(part.get("text"))

    def _cloudflare(self, result: dict[str, Any]) -> None:
        """Workers AI's own form: `response` beside `usage`."""
        response = result.get("response")
        if response is not None:
            self.say(response if isinstance(response, str) else dump(response))
            self.complete = True

    def _minimax(self, base: Any) -> None:
        """MiniMax tells its errors under status 200."""
        if count(get(base, "status_code")):
            message = text(get(base, "status_msg")) or "no message"
            self.fail(Problem(str(base["status_code"]), problem.shorten(message)))

    def _use(self, stated: Any) -> None:
        if isinstance(stated, dict):
            merge(self._stated, stated)

    def _usage_of_headers(self) -> Usage:
        """Text Generation Inference states its counts in headers too."""
        return settle(
            input=digits(self.headers.get("x-prompt-tokens")),
            output=digits(self.headers.get("x-generated-tokens")),
        )


CHAT = Format(
    name="openai.chat",
    operation=Operation.CHAT,
    read_request=read_request,
    reader=ChatReader,
    end_marks=("[DONE]",),
)
