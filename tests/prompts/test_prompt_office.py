"""Office documents are read for their text."""

from __future__ import annotations

import base64
import time
import zipfile
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.prompts.media import media_part
from kimi_mitm.prompts.office import text_of
from kimi_mitm.records import PartKind


def packed(parts: dict[str, str]) -> bytes:
    """An archive with these files."""
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return stream.getvalue()


WORD = (
    '<w:p><w:r><w:t>Tom</w:t></w:r><w:r><w:t xml:space="preserve"> &amp; Jerry</w:t></w:r></w:p>'
    "<w:p><w:t>End</w:t></w:p>"
)
SHEET = '<row><c r="A1" t="s"><v>0</v></c><c r="B1"><v>42</v></c></row>'
SLIDE = "<a:p><a:r><a:t>First slide</a:t></a:r></a:p>"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"word/document.xml": WORD, "word/styles.xml": "<w:t>style</w:t>"}, "Tom & Jerry\nEnd"),
        (
            {"xl/sharedStrings.xml": "<si><t>label</t></si>", "xl/worksheets/sheet1.xml": SHEET},
            "label\n42",
        ),
        ({"ppt/slides/slide1.xml": SLIDE}, "First slide"),
        ({"readme.txt": "no office document"}, ""),
    ],
)
def test_the_text_of_each_kind(parts: dict[str, str], text: str) -> None:
    """Documents, spreadsheets with their numbers, slides; other archives have none."""
    assert text_of(packed(parts)) == text


def test_a_document_is_a_file_with_a_text() -> None:
    """Whatever type it was sent as."""
    data = base64.b64encode(packed({"word/document.xml": WORD})).decode()

    part = media_part(data, mime="application/pdf")

    assert (part.kind, part.text) == (PartKind.FILE, "Tom & Jerry\nEnd")


def test_an_archive_that_unpacks_to_very_much_is_read_in_part() -> None:
    """A few kilobytes may hold gigabytes."""
    bomb = packed({f"ppt/slides/slide{n}.xml": "<a:t>" + "x" * 30_000_000 for n in range(3)})
    started = time.process_time()

    assert len(text_of(bomb)) <= 4_000_000
    assert time.process_time() - started < 2


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_archive_is_too_damaged(noise: bytes, place: int) -> None:
    """Cut, overwritten or made up: a text or none."""
    whole = packed({"word/document.xml": WORD})

    assert isinstance(text_of(whole[:place] + noise + whole[place + len(noise) :]), str)
    assert isinstance(text_of(b"PK\x03\x04" + noise), str)
