"""What the weights say of a prompt, put right by what is known of its media and of its beginning."""

from __future__ import annotations

from collections.abc import Mapping

from kimi_mitm.tokens.bounds import anchored, bounds, floor
from kimi_mitm.tokens.features import Medium
from kimi_mitm.tokens.models import Weighing
from kimi_mitm.tokens.regression import dot
from kimi_mitm.tokens.turns import Anchor

_ANCHOR = 0.95
_FEW_ANSWERS = 3
_FAR = 0.25


def predicted(weighing: Weighing, x: Mapping[str, float], media: tuple[Medium, ...]) -> float:
    """What the weights say, with what each known picture or document turned out to cost."""
    tokens = dot(weighing.weights, x)
    for medium in media:
        if (known := weighing.model.media.get(medium.digest)) is not None:
            tokens += known - dot(weighing.weights, dict(medium.costs))
    return tokens


def outgrown(weighing: Weighing, anchor: Anchor) -> bool:
    """Whether a prompt's figure is far from what its model has reported ever since, and was foretold."""
    if not weighing.model.foretold_since(anchor.seen):
        return False
    missed = abs(anchor.tokens - predicted(weighing, anchor.x, anchor.media))
    return missed > _FAR * anchor.tokens


def bounded(weighing: Weighing, x: Mapping[str, float], tokens: float, anchor: Anchor | None) -> float:
    """The prediction, put right by what an earlier prompt turned out to have, if it can be true at all;
    else what the family's weights say, as far as that can."""
    limits, family = bounds(x), dot(weighing.known, x)
    if anchor is not None:
        limits = anchored(x, anchor.x, anchor.tokens)
        tokens += _ANCHOR * (anchor.tokens - predicted(weighing, anchor.x, anchor.media))
        family += anchor.tokens - dot(weighing.known, anchor.x)
    found = tokens if limits.hold(tokens) else limits.nearest(family)
    return max(found, floor(x)) if weighing.model.seen < _FEW_ANSWERS else found
