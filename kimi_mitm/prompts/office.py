"""The text of an office document (docx, xlsx, pptx: Office Open XML, ISO/IEC 29500), which providers put into
the prompt in its place.

Whatever bytes come, the answer is a text; it is empty for what can't be read.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from html import unescape
from io import BytesIO

_MAGIC = b"PK\x03\x04"
_MAX_FILES = 200
_MAX_BYTES = 4_000_000
_PARTS = re.compile(
    r"word/(?:document|footnotes|endnotes|header\d*|footer\d*)\.xml"
    r"|xl/(?:sharedStrings|worksheets/sheet\d+)\.xml"
    r"|ppt/(?:slides/slide|notesSlides/notesSlide)\d+\.xml"
)
# A run of text in either of the three; a cell's number; the ends of paragraphs, rows and cells.
_RUNS = re.compile(r"<(?:w:|a:)?t(?: [^>]*)?>([^<]*)</|(</(?:w:p|a:p|si|row)>)|(<w:tab/>|</w:tc>|</c>)")
_NUMBER = re.compile(r'<c(?![^>]*\bt="s")[^>]*><v>([^<]*)</v>')


def text_of(data: bytes) -> str:
    """The document's text, in the order of its parts; at most four million bytes of XML are read."""
    if not data.startswith(_MAGIC):
        return ""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return "".join(_texts(archive)).strip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError):
        return ""


def _texts(archive: zipfile.ZipFile) -> Iterator[str]:
    left = _MAX_BYTES
    for name in [name for name in archive.namelist() if _PARTS.fullmatch(name)][:_MAX_FILES]:
        if left <= 0:
            return
        with archive.open(name) as part:
            data = part.read(left)
        left -= len(data)
        xml = data.decode("utf-8", "replace")
        if name.startswith("xl/worksheets"):
            yield " ".join(_NUMBER.findall(xml)) + "\n"
            continue
        for text, line, cell in _RUNS.findall(xml):
            yield unescape(text) if text else "\n" if line else "\t" if cell else ""
