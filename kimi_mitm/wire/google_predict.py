"""Vertex AI's `:predict` and `:serverStreamingPredict`: PaLM's text and chat models, embeddings, endpoints.

Tokens stand in `metadata.tokenMetadata` for text, in each embedding's `statistics` for embeddings.
"""

from __future__ import annotations

from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target, WireError
from kimi_mitm.wire.google import model_in_path
from kimi_mitm.wire.values import body, count, first, get, items, text, total

_STATED = ("read", "written")
_MEDIA_MODELS = ("imagen", "imagegeneration", "veo-", "lyria", "virtual-try-on", "imagetext")


class PredictReader(Draft):
    """Reads a `PredictResponse`, or the elements of a streamed one."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the answer or an element."""
        if "outputs" in doc:
            for output in items(doc["outputs"]):
                self.say(get(output, "structVal", "content", "stringVal", 0))
            return
        self.response_model = text(doc.get("modelDisplayName")) or self.response_model
        tokens = get(doc, "metadata", "tokenMetadata")
        stated = {
            "read": get(tokens, "inputTokenCount", "totalTokens"),
            "written": get(tokens, "outputTokenCount", "totalTokens"),
        }
        self.keep(stated, *_STATED)
        made = doc.get("predictions")
        predictions = [made] if isinstance(made, dict) else items(made)
        embedded = total(*(_embedded(prediction) for prediction in predictions))
        self.keep({"embedded": embedded}, "embedded")
        prediction = predictions[0] if predictions else None
        if get(prediction, "choices") is not None:
            self._chat(prediction)
        self.say(prediction)
        self.say(get(prediction, "content"))
        self.say(get(prediction, "candidates", 0, "content"))
        self.complete = True

    def _chat(self, completion: Any) -> None:
        """A model that the user deployed may answer as OpenAI's chat does."""
        usage = get(completion, "usage")
        self.keep({"read": get(usage, "prompt_tokens"), "written": get(usage, "completion_tokens")}, *_STATED)
        choice = get(completion, "choices", 0)
        self.say(first(choice, "text") or get(choice, "message", "content"))
        self.finish_reason = text(get(choice, "finish_reason"))

    def usage(self) -> Usage:
        """The figures; those of embeddings are the sum over the texts."""
        read = first(self.figures, "read", "embedded")
        return settle(input=read, output=self.figures.get("written"))


def _embedded(prediction: object) -> int | None:
    """An embedding's tokens: `embeddings.statistics.token_count`, for whichever name it has."""
    statistics = get(prediction, "embeddings", "statistics")
    return count(first(statistics, "token_count", "tokenCount"))


def _read_request(data: bytes, target: Target) -> Request:
    model, stream = model_in_path(target.path)
    try:
        doc = body(data)
    except WireError:
        return Request(model=model, stream=stream, hidden=frozenset({"partial_body"}))
    instance = get(doc, "instances", 0)
    messages = items(get(instance, "messages"))
    return Request(
        model=model,
        stream=stream,
        max_output_tokens=count(get(doc, "parameters", "maxOutputTokens")),
        message_count=len(messages) or int(instance is not None),
        operation=_operation(model or "", bool(messages)),
    )


def _operation(model: str, chats: bool) -> Operation | None:
    if "embedding" in model:
        return Operation.EMBEDDINGS
    if model.startswith(_MEDIA_MODELS):
        return Operation.OTHER
    return Operation.CHAT if chats else None


PREDICT = Format(
    name="google.predict",
    operation=Operation.TEXT_COMPLETION,
    read_request=_read_request,
    reader=PredictReader,
)
