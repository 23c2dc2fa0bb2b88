"""The zip archive that torch writes: its pickle, and tensors out of its blocks of numbers.

What a tensor claims is checked against the bytes that are there: nothing is allocated for numbers
that the archive does not hold, no tensor reaches beyond its block, and none shares memory with
another.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter

import torch

from yolo_ema.engine.weights.pickle_reader import MOST_BYTES
from yolo_ema.engine.weights.pickle_records import SavedStorage, SavedTensor

_MOST_ENTRIES = 50_000
_DIRECTORY_ENTRY = b"PK\x01\x02"
_MOST_EXPANSION = 4
"""How many times larger than the file its entries may be together: torch compresses none of them,
and weights hardly shrink where somebody packed them again.
"""

_ALLOWANCE = 1 << 20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others expand without a bound
_PIECE = 1 << 20


class ArchiveFault(Exception):  # noqa: N818 - `loading` turns it into the error that the user sees
    """The archive is damaged or is not a torch archive; the message is a clause."""


class TorchArchive:
    """A torch file in memory.

    Args:
        content: the whole file.

    Raises:
        ArchiveFault: it is not a whole zip archive with a torch model in it.
    """

    def __init__(self, content: bytes) -> None:
        if content.count(_DIRECTORY_ENTRY) > _MOST_ENTRIES:
            raise ArchiveFault(f"is an archive of more than {_MOST_ENTRIES:,} entries")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            if b"data.pkl" not in content:
                raise ArchiveFault("is a zip archive without a torch model in it") from error
            raise ArchiveFault(
                f"is truncated or damaged ({len(content)} bytes): {error}"
            ) from error
        entries = self._zip.infolist()
        names = Counter(entry.filename for entry in entries)
        roots = [name[: -len("data.pkl")] for name in names if name.endswith("/data.pkl")]
        if any(name.endswith("/constants.pkl") for name in names):
            raise ArchiveFault(
                "is a TorchScript archive, an export (its name should end in .torchscript)"
            )
        if len(roots) != 1 or roots[0].count("/") != 1:
            raise ArchiveFault("is a zip archive without a torch model in it")
        self._root = roots[0]
        if twice := [name for name, count in names.items() if count > 1]:
            raise ArchiveFault(f"is damaged: its entry {twice[0][:100]!r} is there twice")
        if any(entry.compress_type not in _COMPRESSIONS for entry in entries):
            raise ArchiveFault("is refused: torch does not compress an archive in that way")
        packed = sum(entry.compress_size for entry in entries)
        unpacked = sum(entry.file_size for entry in entries)
        if packed > len(content) or unpacked > _MOST_EXPANSION * len(content) + _ALLOWANCE:
            raise ArchiveFault(
                f"is refused: its entries come to {unpacked:,} bytes, and the file has "
                f"{len(content):,}"
            )
        if self._has("byteorder") and self._read("byteorder") != b"little":
            raise ArchiveFault("was saved on a machine of another byte order")
        self._storages: dict[str, torch.Tensor] = {}
        self._tensors: dict[int, tuple[SavedTensor, torch.Tensor]] = {}
        self._used: Counter[str] = Counter()

    @property
    def pickle(self) -> bytes:
        """The pickle that says what the file holds. Raises `ArchiveFault` where it is too large."""
        size = self._zip.getinfo(f"{self._root}data.pkl").file_size
        if size > MOST_BYTES:
            raise ArchiveFault(
                f"is refused: its pickle has {size:,} bytes; expected at most {MOST_BYTES:,}"
            )
        return self._read("data.pkl")

    def tensor(self, saved: SavedTensor) -> torch.Tensor:
        """Return a tensor on the CPU, with memory of its own.

        Raises:
            ArchiveFault: it claims numbers that the archive does not hold, or another's.
        """
        if id(saved) in self._tensors:
            return self._tensors[id(saved)][1]
        storage, count = saved.storage, 1
        for size in saved.size:
            count *= size
        end = saved.offset + sum(
            (size - 1) * step for size, step in zip(saved.size, saved.stride, strict=True)
        )
        if count and (end >= storage.count or not _is_one_to_one(saved)):
            raise ArchiveFault(
                f"is damaged: a tensor of {saved.size} reaches beyond its {storage.count:,} "
                f"numbers, or takes some of them twice"
            )
        self._used[storage.key] += count
        if self._used[storage.key] > storage.count:
            raise ArchiveFault(
                f"is damaged: several tensors share the numbers {storage.key[:20]!r}"
            )
        numbers = self._storage(storage)
        try:
            tensor = (
                numbers.as_strided(saved.size, saved.stride, saved.offset)
                if count
                else numbers.new_empty(saved.size)
            )
        except RuntimeError as error:  # sides of more than torch can count
            raise ArchiveFault(f"is damaged: a tensor of {saved.size}") from error
        self._tensors[id(saved)] = saved, tensor  # the note is kept, so that its id stays its own
        return tensor

    def _storage(self, storage: SavedStorage) -> torch.Tensor:
        dtype = getattr(torch, storage.dtype)
        if storage.key not in self._storages:
            if not self._has(f"data/{storage.key}"):
                raise ArchiveFault(f"is damaged: the numbers {storage.key[:20]!r} are missing")
            info = self._zip.getinfo(f"{self._root}data/{storage.key}")
            if storage.count * dtype.itemsize > info.file_size:
                raise ArchiveFault(
                    f"is damaged: a tensor claims {storage.count * dtype.itemsize:,} bytes where "
                    f"{info.file_size:,} are"
                )
            content = bytearray(self._read(f"data/{storage.key}")[: storage.count * dtype.itemsize])
            # torch's own memory, aligned as its kernels like it
            if not content:
                numbers = torch.empty(0, dtype=dtype, device="cpu")
            elif dtype is torch.bool:
                numbers = torch.frombuffer(content, dtype=torch.uint8) != 0
            else:
                numbers = torch.frombuffer(content, dtype=dtype).clone()
            self._storages[storage.key] = numbers
        numbers = self._storages[storage.key]
        if numbers.dtype != dtype or len(numbers) != storage.count:
            raise ArchiveFault(f"is damaged: the numbers {storage.key[:20]!r} are of two kinds")
        return numbers

    def _has(self, name: str) -> bool:
        return self._root + name in self._zip.NameToInfo

    def _read(self, name: str) -> bytes:
        try:
            # Not `read` of all of it: that decompresses however much there is.
            with self._zip.open(self._root + name) as entry:
                content = b"".join(iter(lambda: entry.read(_PIECE), b""))
        except (
            zipfile.BadZipFile,
            EOFError,
            OSError,
            RuntimeError,
            NotImplementedError,
            ValueError,
            zlib.error,
        ) as error:
            raise ArchiveFault(f"is damaged: {name[:100]}: {str(error)[:200]}") from error
        size = self._zip.getinfo(self._root + name).file_size
        if len(content) != size:
            raise ArchiveFault(
                f"is damaged: {name[:100]} has {len(content):,} bytes where it declares {size:,}"
            )
        return content


def _is_one_to_one(saved: SavedTensor) -> bool:
    """Say whether each element of a tensor has a number of its own."""
    reach = 0
    for step, size in sorted(zip(saved.stride, saved.size, strict=True)):
        if size > 1:
            if step <= reach:
                return False
            reach += (size - 1) * step
    return True
