"""What a picture, a page, a second of sound or film costs in prompt tokens, by the model that looks at it.

Formulas are the vendors' own where they document one (OpenAI "images and vision", Anthropic "vision",
Google "understand and count tokens"); figures marked *seen* come from recorded exchanges. What the formulas
miss, the learner corrects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, sqrt

from kimi_mitm.records import Part, PartKind

# An image whose size can't be read is taken for this one.
_SIDE = 768


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens: of an image by its pixel size and its `detail`; of a page; of a second of sound, of film."""

    image: Callable[[int, int, str | None], float]
    page: float = 1500
    audio: float = 25
    video: float = 260
    chunk: float = 0
    """Sound is counted in pieces of so many seconds, the last one as a whole."""


def _flat(tokens: float) -> Callable[[int, int, str | None], float]:
    return lambda width, height, detail: tokens


def _tiles(base: float, tile: float) -> Callable[[int, int, str | None], float]:
    """OpenAI: scaled into 2048 x 2048, then the short side to 768; tiles of 512."""

    def cost(width: int, height: int, detail: str | None) -> float:
        if detail == "low":
            return base
        scale = min(1.0, 2048 / max(width, height))
        width, height = round(width * scale), round(height * scale)
        scale = min(1.0, 768 / min(width, height))
        return base + tile * ceil(width * scale / 512) * ceil(height * scale / 512)

    return cost


def _patches(factor: float, cap: int = 1536, side: int = 32) -> Callable[[int, int, str | None], float]:
    """OpenAI's smaller and newer models, and others: patches of `side` pixels, at most `cap` of them."""

    def cost(width: int, height: int, detail: str | None) -> float:
        count = ceil(width / side) * ceil(height / side)
        if count > cap:
            shrink = sqrt(side * side * cap / (width * height))
            count = min(cap, ceil(width * shrink / side) * ceil(height * shrink / side))
        return factor * count

    return cost


def _claude(width: int, height: int, detail: str | None) -> float:
    """Patches of 28 pixels and 3 more (*seen*; w * h / 750 is the documented approximation), after scaling
    the long side to 1568 and to some 1,600 tokens."""
    scale = min(1.0, 1568 / max(width, height))
    tokens = ceil(width * scale / 28) * ceil(height * scale / 28) + 3
    return min(tokens, 1600)


def _crops(overview: int) -> Callable[[int, int, str | None], float]:
    """Google's 2.x: 258 up to 384 x 384, else tiles of two thirds of the short side (256 to 768)."""

    def cost(width: int, height: int, detail: str | None) -> float:
        if width <= 384 and height <= 384:
            return 258
        unit = max(256, min(768, floor(min(width, height) / 1.5)))
        return 258 * (ceil(width / unit) * ceil(height / unit) + overview)

    return cost


def _pixtral(width: int, height: int, detail: str | None) -> float:
    """Mistral: patches of 16 pixels (28 for the newer), a break a row; sides at most 1540."""
    scale = min(1.0, 1540 / max(width, height))
    rows, columns = ceil(height * scale / 28), ceil(width * scale / 28)
    return rows * (columns + 1)


_TABLE: tuple[tuple[str, Rates], ...] = (
    (r"gpt-4o-mini", Rates(_tiles(2833, 5667), page=220, audio=10)),
    (r"gpt-4\.1-mini|o4-mini", Rates(_patches(1.62), page=750)),
    (r"gpt-4\.1-nano", Rates(_patches(2.46), page=750)),
    (r"gpt-5[\w.]*-mini", Rates(_patches(1.2), page=750)),  # factor *seen*
    (r"gpt-5[\w.]*-nano", Rates(_patches(1.5), page=750)),  # factor *seen*
    (r"gpt-5\.[4-9]", Rates(_patches(2.0, cap=2500), page=1030)),  # *seen*, once
    (r"gpt-5", Rates(_tiles(70, 140), page=1030)),
    (r"^o[13]", Rates(_tiles(75, 150), page=1000)),
    (r"gpt|chatgpt", Rates(_tiles(85, 170), page=1000, audio=10)),
    (r"claude", Rates(_claude, page=2400)),
    (
        r"gemini-(?:[3-9]|flash-latest|flash-lite-latest|pro-latest)",
        Rates(_flat(1090), page=520, audio=32, video=70),
    ),
    (r"gemini-2\.0|gemini-1", Rates(_crops(1), page=258, audio=32, video=295)),
    (r"gemini|gemma", Rates(_crops(0), page=258, audio=32, video=295)),
    (r"grok", Rates(_flat(256), page=1000)),
    (r"nova", Rates(_patches(1.0, cap=1800, side=28), page=1000, video=233)),
    (r"voxtral", Rates(_pixtral, page=1000, audio=12.5, chunk=30)),
    (r"mistral|pixtral|magistral|ministral", Rates(_pixtral, page=1000, audio=12.5)),
    (r"qwen|glm|kimi", Rates(_patches(1.0, cap=16384, side=28), page=1000)),
    (r"llama", Rates(_tiles(145, 145), page=1000)),
    (r"granite|llava", Rates(_flat(729), page=1000)),  # SigLIP's 27 x 27 patches
)
_DEFAULT = Rates(_patches(1.0, side=28))
_COMPILED = tuple((re.compile(pattern), rates) for pattern, rates in _TABLE)


@lru_cache(maxsize=512)
def rates_of(model: str) -> Rates:
    """The rates of a model, by its bare name in lower case."""
    return next((rates for pattern, rates in _COMPILED if pattern.search(model)), _DEFAULT)


def cost(part: Part, rates: Rates) -> float:
    """Tokens of one part that is no text."""
    if part.kind is PartKind.IMAGE:
        width, height = part.width or _SIDE, part.height or _SIDE
        return rates.image(max(1, min(width, 100_000)), max(1, min(height, 100_000)), part.detail)
    if part.kind is PartKind.AUDIO:
        seconds = _seconds(part, 2000)
        return rates.audio * (ceil(seconds / rates.chunk) * rates.chunk if rates.chunk else seconds)
    if part.kind is PartKind.VIDEO:
        return rates.video * _seconds(part, 50_000)
    if part.pages:
        return rates.page * min(part.pages, 5000)
    return 100.0


def _seconds(part: Part, bytes_per_second: int) -> float:
    if part.seconds is not None:
        return max(1.0, min(part.seconds, 36_000.0))
    return max(1.0, (part.size or 10 * bytes_per_second) / bytes_per_second)
