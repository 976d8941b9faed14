"""Blocks that hold images, sound, films and files, in every wire format's spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kimi_mitm.prompts.media import media_part
from kimi_mitm.prompts.texts import compact, name_in, text_at
from kimi_mitm.records import Part, PartKind

Block = dict[str, Any]


def _link(block: Block) -> Part:
    """{image_url | video_url | document_url: address or {url, detail}}."""
    value = block.get("image_url", block.get("video_url", block.get("document_url")))
    url = value if isinstance(value, str) else text_at(value, "url")
    mime = {"video_url": "video/*", "document_url": "application/pdf"}.get(str(block.get("type")), "image/*")
    return media_part(url, mime=mime, detail=text_at(value, "detail") or text_at(block, "detail"))


def _audio(block: Block) -> Part:
    value = block.get("input_audio", block.get("audio"))
    data = value if isinstance(value, str) else text_at(value, "data")
    return media_part(data, mime=f"audio/{text_at(value, 'format') or '*'}")


def _file(block: Block) -> Part:
    inner = block.get("file") if isinstance(block.get("file"), dict) else block
    return media_part(
        text_at(inner, "file_data") or text_at(inner, "file_url") or text_at(inner, "file_url", "url"),
        mime="application/pdf",
        name=text_at(inner, "filename"),
        detail=text_at(inner, "detail"),
    )


def sourced(block: Block) -> Part:
    """Anthropic's {source: {type: base64 | url | file, media_type, data}}."""
    source = block.get("source")
    if not isinstance(source, dict):
        return _converse(block)
    default = "image/*" if block.get("type") == "image" else "application/pdf"
    return media_part(text_at(source, "data"), mime=text_at(source, "media_type") or default)


def _inline(block: Block) -> Part:
    data = block.get("inlineData", block.get("inline_data"))
    return media_part(text_at(data, "data"), mime=text_at(data, "mimeType") or text_at(data, "mime_type"))


def _file_data(block: Block) -> Part:
    data = block.get("fileData", block.get("file_data"))
    return media_part(None, mime=text_at(data, "mimeType") or text_at(data, "mime_type"))


def _converse(block: Block) -> Part:
    """Bedrock's {image | document | video | audio: {format, name, source: {bytes | text}}}."""
    for key in ("image", "document", "video", "audio"):
        inner = block.get(key)
        if not isinstance(inner, dict):
            continue
        citations = inner.get("citations")
        detail = "citations" if isinstance(citations, dict) and citations.get("enabled") else None
        if text := text_at(inner, "source", "text"):
            return Part(kind=PartKind.TEXT, text=text, detail=detail)
        mime = f"{'application' if key == 'document' else key}/{text_at(inner, 'format') or '*'}"
        return media_part(text_at(inner, "source", "bytes"), mime=mime, name=name_in(inner), detail=detail)
    return Part(kind=PartKind.OTHER, text=compact(block))


TYPED: dict[str, Callable[[Block], Part]] = {
    "image_url": _link,
    "input_image": _link,
    "video_url": _link,
    "document_url": _link,
    "image": sourced,
    "file": _file,
    "file_url": _file,
    "input_file": _file,
    "input_audio": _audio,
    "audio": _audio,
}
KEYED: dict[str, Callable[[Block], Part]] = {
    "inlineData": _inline,
    "inline_data": _inline,
    "fileData": _file_data,
    "file_data": _file_data,
    "image": _converse,
    "document": _converse,
    "video": _converse,
    "audio": _converse,
}
