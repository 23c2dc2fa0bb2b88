"""Names the type of a file by its first bytes, for errors about files of the wrong type."""

from __future__ import annotations

_SIGNATURES = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself (run 'git lfs pull')"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x89HDF", "an HDF5 file, such as Keras weights"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"GGUF", "a GGUF model"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "a Windows icon"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftyp", "an MP4 video"),
    (257, b"ustar", "a tar archive"),
)


def kind_of(head: bytes) -> str:
    """Return what a file is by its first 512 bytes, as a phrase with its article."""
    for offset, signature, kind in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return kind
    # protobuf: field 1 the IR version, field 2 the producer's name
    if head[0:1] == b"\x08" and head[2:3] == b"\x12":
        return "an ONNX model (its name should end in .onnx)"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return "a safetensors file; it holds tensors but no model"
    if not any(head):
        return "nothing but zero bytes"
    return _kind_of_text(head)


def _kind_of_text(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page; perhaps a download that failed or wanted a login"
    if start.startswith(b"<?xml"):
        return "an XML file"
    try:
        # The cut may go through the last character.
        head[:-3].decode("utf-8") if len(head) > 3 else head.decode("utf-8")
    except UnicodeDecodeError:
        return "a file of an unknown kind"
    return "a text file"
