"""Token figures in errors: what a provider, a gateway or a local server says of a prompt that was too long.

The rows are wordings seen in providers' answers and clients' logs. A quota or a rate limit is no token
count of the request it refused, however alike it reads, so those are turned away first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_READ_AT_MOST: Final = 65_536  # characters; an error page behind a gateway can be megabytes
_MOST: Final = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptError:
    """What an error states, in tokens; at least one of the first two is known.

    `input_tokens`: the refused prompt; `lower_bound` when the error says "at least" so many.
    `context_window`: the limit that it names. `max_output_tokens`: the answer that was asked for.
    """

    input_tokens: int | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    lower_bound: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    """`who` writes it; groups: `input`, `floor` (an input that is "at least"), `parts` (a list such as
    "97 in the messages, 4000 in the completion"), `total`, `output`, `window`."""

    who: str
    pattern: re.Pattern[str]


def _row(who: str, pattern: str) -> _Row:
    return _Row(who, re.compile(pattern.replace("#", r"\d[\d,]{0,14}"), re.IGNORECASE))


_NOT_OF_THIS_REQUEST: Final = re.compile(
    r"quota|rate[ _-]?limit|(?:per|/)[ _-]?(?:minute|min\b|hour|day)|\b[TR]P[MD]\b", re.IGNORECASE
)
_PART: Final = re.compile(
    r"(?P<n>\d[\d,]{0,14})(?: tokens?)? (?:in|of|from|for) (?:the |your )?(?P<what>[a-z][a-z _]{2,30})",
    re.IGNORECASE,
)
_ANSWER: Final = re.compile(r"completion|output", re.IGNORECASE)

ROWS: Final[tuple[_Row, ...]] = (
    _row("anthropic", r"prompt is too long:? (?P<input>#) tokens > (?P<window>#) max"),
    _row(
        "anthropic",
        r"input length and \W{0,2}max_tokens\W{0,2} exceed context limit: "
        r"(?P<input>#) \+ (?P<output>#) > (?P<window>#)",
    ),
    _row(
        "vllm, nvidia",
        r"maximum context length is (?P<window>#) tokens[^\n]{0,40}you requested (?P<output>#) output tokens "
        r"and your prompt contains (?:at least (?P<floor>#)|(?P<input>#)) input tokens",
    ),
    _row(
        "vllm",
        r"max_(?:completion_)?tokens\W{0,2} is too large: (?P<output>#)\. [^\n]{0,20}"
        r"maximum context length is (?P<window>#) tokens and your request has (?P<input>#) input tokens",
    ),
    _row(
        "vllm",
        r"maximum context length is (?P<window>#) tokens[^\n]{0,40}"
        r"your request has (?P<input>#) input tokens",
    ),
    _row("vllm", r"prompt \(length (?P<input>#)\) is longer than the maximum model length of (?P<window>#)"),
    _row(
        "openai, deepseek, openrouter, vllm",
        r"maximum context length is (?P<window>#) tokens\W{1,3}however,? (?:you|your messages) "
        r"(?:requested|resulted in)(?: about)? (?P<total>#) tokens(?: \((?P<parts>[^)\n]{1,300})\))?",
    ),
    _row(
        "sglang",
        r"maximum context length of (?P<window>#) tokens\. You requested a total of (?P<total>#) tokens: "
        r"(?P<parts>[^.\n]{1,300})",
    ),
    _row(
        "sglang, together",
        r"input \((?P<input>#) tokens\) is longer than [^\n]{0,20}context length \((?P<window>#) tokens",
    ),
    _row(
        "vllm", r"input length \((?P<input>#)\) exceeds [^\n]{0,20}maximum context length \((?P<window>#)\)"
    ),
    _row(
        "openrouter",
        r"input length (?P<input>#) exceeds (?:the )?maximum allowed input length of (?P<window>#) tokens?",
    ),
    _row(
        "google",
        r"input token count \(?(?P<input>#)\)? exceeds the maximum number of tokens allowed \(?(?P<window>#)",
    ),
    _row("google", r"input token count exceeds the maximum number of tokens allowed \(?(?P<window>#)"),
    _row("google", r"input token count is (?P<input>#) but the model (?:only )?supports up to (?P<window>#)"),
    _row(
        "llama.cpp",
        r"request \((?P<input>#) tokens\) exceeds the available context size(?: \((?P<window>#) tokens\))?",
    ),
    _row("x-ai", r"maximum prompt length is (?P<window>#) but the request contains (?P<input>#) tokens"),
    _row("copilot", r"prompt token count of (?P<input>#) exceeds the limit of (?P<window>#)"),
    _row(
        "mistral",
        r"prompt contains (?P<input>#) tokens[^\n]{0,40}too large for model with (?P<window>#) "
        r"maximum context length",
    ),
    _row("moonshotai", r"exceeded model token limit: (?P<window>#) \(requested: (?P<input>#)\)"),
    _row("fireworks", r"prompt is too long: (?P<input>#), model maximum context length: (?P<window>#)"),
    _row("tgi", r"Given: (?P<input>#) \W{0,2}inputs\W{0,2} tokens and (?P<output>#) \W{0,2}max_new_tokens"),
    _row("cerebras", r"current length is (?P<input>#) while limit is (?P<window>#)"),
    _row(
        "watsonx",
        r"number of input tokens (?P<input>#) cannot exceed the total tokens limit (?P<window>#)",
    ),
    _row("aws", r"max input tokens: (?P<window>#), request input token count: (?P<input>#)"),
    _row(
        "cohere",
        r"number of tokens in the prompt cannot exceed (?P<window>#)[^\n]{1,5}received (?P<input>#)",
    ),
    _row("alibaba", r"range of input length should be \[\d+, ?(?P<window>#)\]"),
    _row("openai, openrouter", r"maximum context length is (?P<window>#) tokens"),
)


def prompt_tokens_of_error(
    problem_type: str | None, message: str | None, body: bytes | None = None
) -> PromptError | None:
    """The figures of an error about a prompt's length, or None when it states none.

    `problem_type` is the provider's word for the error, `message` its text; `body` is the whole answer,
    looked at when the message doesn't say. Quotas and rate limits give None.
    """
    text = (message or "")[:_READ_AT_MOST]
    if _NOT_OF_THIS_REQUEST.search(problem_type or "") or _NOT_OF_THIS_REQUEST.search(text):
        return None
    whole = (body or b"")[:_READ_AT_MOST].decode("utf-8", "replace")
    return _fields(whole) or _wording(text) or _wording(whole)


def _fields(body: str) -> PromptError | None:
    """llama.cpp's own fields, beside its message."""
    found = re.search(r'"n_prompt_tokens"\s*:\s*(\d{1,9})\b', body)
    if not found:
        return None
    window = re.search(r'"n_ctx"\s*:\s*(\d{1,9})\b', body)
    return _checked(_number(found[1]), _number(window[1]) if window else None, None)


def _wording(text: str) -> PromptError | None:
    if not text or _NOT_OF_THIS_REQUEST.search(text):
        return None
    for row in ROWS:
        if found := row.pattern.search(text):
            return _figures(found.groupdict())
    return None


def _figures(groups: dict[str, str | None]) -> PromptError | None:
    window, output = _number(groups.get("window")), _number(groups.get("output"))
    if floor := _number(groups.get("floor")):
        return _checked(floor, window, output, lower_bound=True)
    if parts := groups.get("parts"):
        inputs, outputs = _parts(parts)
        return _checked(inputs if inputs is not None else _number(groups.get("total")), window, outputs)
    return _checked(_number(groups.get("input") or groups.get("total")), window, output)


def _parts(text: str) -> tuple[int | None, int | None]:
    """The sums of what is prompt and of what is answer in "97 in the messages, 4000 in the completion"."""
    sums: dict[bool, int] = {}
    for part in _PART.finditer(text):
        answer = bool(_ANSWER.search(part["what"]))
        sums[answer] = sums.get(answer, 0) + (_number(part["n"]) or 0)
    return sums.get(False), sums.get(True)


def _number(text: str | None) -> int | None:
    value = int(text.replace(",", "")) if text else None
    return value if value is not None and value <= _MOST else None


def _checked(
    tokens: int | None, window: int | None, output: int | None, *, lower_bound: bool = False
) -> PromptError | None:
    if tokens is None and window is None:
        return None
    return PromptError(
        input_tokens=tokens, context_window=window, max_output_tokens=output, lower_bound=lower_bound
    )
