"""Text files of unknown origin: labels, annotations, lists and JSON as editors on any system save
them, and names and paths as text that every stream and file can hold.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import sys
from pathlib import Path

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_MARKS = (  # the longer ones first: UTF-16's is the beginning of UTF-32's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(content: bytes) -> str:
    """Return the text of a file that does not say how it is encoded: as `encoding_of` finds it, or
    Latin-1 where it cannot be that. What fits no encoding is replaced, so that rows can be judged
    one by one.
    """
    encoding = encoding_of(content)
    if encoding != "utf-8":
        return content.decode(encoding, errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def encoding_of(content: bytes) -> str:
    """Return the encoding that a byte order mark states; without one, text whose every other byte
    is mostly zero is UTF-16, and anything else UTF-8.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    zeros = [content[half::2].count(0) for half in (0, 1)]
    if max(zeros) > 0.4 * (len(content) / 2) > 0 and min(zeros) < 0.1 * max(zeros):
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    return "utf-8"


def csv_text(text: str) -> str:
    """Return text as a cell that spreadsheets do not run as a formula: behind an apostrophe. A
    carriage return, which `csv` does not quote, becomes a space.
    """
    plain = text.replace("\r", " ")
    return f"'{plain}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else plain


def one_line(text: str) -> str:
    """Return a name as a file with one name a line takes it: line breaks, control characters and
    doubled spaces become one space.
    """
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def printable(text: str) -> str:
    """Return text with control characters escaped, which class or file names may carry.

    An escape sequence would recolour the terminal or worse. Line breaks and tabs stay.
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def shell_words(*words: str) -> str:
    """Return words as the shell of this system takes them."""
    if sys.platform == "win32":  # whose prompt knows double quotes alone
        import subprocess

        return subprocess.list2cmdline(words)
    import shlex

    return shlex.join(words)


def say(text: str) -> None:
    """Print a line for the user on stderr, if anyone still reads it: stdout is for the result."""
    with contextlib.suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)  # noqa: T201


def shown_path(path: str | Path) -> str:
    r"""Return a path as text that any file and stream takes: what is not Unicode appears escaped.

    A byte that is not UTF-8 becomes ``\udc80`` to ``\udcff``, as Python reads it.
    """
    return str(path).encode("utf-8", errors="backslashreplace").decode("utf-8")
