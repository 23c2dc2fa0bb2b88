from __future__ import annotations

import codecs
import sys
from pathlib import Path

import pytest

from yolo_ema.io.text_files import decode_text, shell_words, shown_path

ROWS = "684,8,273,116,0,0,0,0\n406,119,265,70,1,4,0,0\n"


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b""),
        ("utf-8", codecs.BOM_UTF8),
        ("utf-16-le", codecs.BOM_UTF16_LE),
        ("utf-16-be", codecs.BOM_UTF16_BE),
        ("utf-32-le", codecs.BOM_UTF32_LE),
        ("utf-32-be", codecs.BOM_UTF32_BE),
        ("utf-16-le", b""),
        ("utf-16-be", b""),
    ],
)
def test_rows_are_read_in_every_encoding(encoding: str, mark: bytes) -> None:
    assert decode_text(mark + ROWS.encode(encoding)) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_letters_beyond_ascii(encoding: str) -> None:
    assert decode_text("Straße/Möwe.jpg\n".encode(encoding)) == "Straße/Möwe.jpg\n"


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff\xfe\0", bytes(range(256)) * 3, b"\0" * 64])
def test_any_bytes_can_be_decoded(content: bytes) -> None:
    assert isinstance(decode_text(content), str)


def test_paths_can_always_be_printed_and_written() -> None:
    assert shown_path(Path("photos/möwe.jpg")) == "photos/möwe.jpg"
    assert shown_path("a\udcff\ud800.jpg") == "a\\udcff\\ud800.jpg"


def test_words_are_quoted_as_the_shell_here_takes_them(monkeypatch):
    words = ("yolo-ema", "runs\\my run\\last.pt", "a b")
    assert shell_words(*words) == "yolo-ema 'runs\\my run\\last.pt' 'a b'"
    monkeypatch.setattr(sys, "platform", "win32")
    assert shell_words(*words) == 'yolo-ema "runs\\my run\\last.pt" "a b"'
    assert shell_words("runs\\last.pt") == "runs\\last.pt"
