"""How Gemma's encoding cuts a text, which is that of Gemini's models (googleapis/python-genai,
`google/genai/_local_tokenizer_loader.py`: those up to 3.0 are counted with Gemma 3's, later ones with Gemma
4's, with which it agrees on recorded texts; so it does for 1.5).

Gemma 3 has a SentencePiece vocabulary of 262,144 pieces: a blank belongs to the word after it, and runs of
blanks, tabs and newlines and some tags are pieces of their own, whatever stands beside them. No other piece
reaches over a blank, so words can be merged one by one, as tiktoken does, in the order of the pieces.
A character that isn't in the vocabulary counts two to four tokens, where SentencePiece has one a byte.
"""

from __future__ import annotations

_LONGEST_RUN = 31
_NAMES = (
    "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "h1", "h2", "h3", "h4", "h5", "h6",
    "blockquote", "strong", "em", "b", "i", "u", "s", "sub", "sup", "code", "a", "html", "body", "img",
    "span", "bbox", "ul", "li", "div", "iframe", "footer",
)  # fmt: skip
_TAG = f"</?(?:{'|'.join(_NAMES)})>"
PATTERN = "|".join(
    (
        rf"\n{{1,{_LONGEST_RUN}}}",
        rf"\t{{1,{_LONGEST_RUN}}}",
        rf" {{2,{_LONGEST_RUN}}}",
        _TAG,
        rf" ?(?:(?!{_TAG})[^ \n\t])+",
        " ",
    )
)


def with_tags(ranks: dict[bytes, int]) -> dict[bytes, int]:
    """The ranks with those of the tags, which aren't made of two earlier pieces and so aren't in the file."""
    for name in _NAMES:
        for tag in (f"<{name}>", f"</{name}>"):
            ranks[tag.encode()] = len(ranks)
    return ranks
