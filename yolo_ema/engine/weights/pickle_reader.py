"""Reads the pickle of a weights file without running it.

A pickle is a small program: it names globals, builds objects of classes, and calls functions.
Python's unpickler runs that program, torch's runs it within limits. Here nothing is imported, built
or called: what comes out are plain values and the records of `pickle_records`. What else a file
does refuses it.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickletools
from collections.abc import Callable
from typing import Any

from yolo_ema.engine.weights.pickle_records import (
    CALLS,
    CLASS_MODULES,
    KNOWN_GLOBALS,
    STORAGES,
    GlobalName,
    NumpyKind,
    RefusedPickle,
    SavedObject,
    SavedStorage,
    checked_key,
    is_count,
)

MOST_BYTES = 16 << 20
"""Largest pickle: that of an unfinished run of the largest models takes one of them."""

_MOST_OPERATIONS = 2_000_000


def read_pickle(program: bytes) -> Any:
    """Return what one pickle holds, in the records of this module.

    Raises:
        RefusedPickle: it names or does something that weights never need.
        ValueError: it is not a whole pickle, or is larger than any weights need.
    """
    if len(program) > MOST_BYTES:
        raise ValueError(f"its pickle has {len(program):,} bytes; expected at most {MOST_BYTES:,}")
    reader = _Reader()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(program))):
            if count > _MOST_OPERATIONS:
                raise ValueError(f"its pickle has more than {_MOST_OPERATIONS:,} operations")
            reader.follow(opcode.name, argument)
        content = reader.stack.pop()
    except (IndexError, KeyError) as error:
        raise ValueError("the pickle takes more from its stack than it put there") from error
    except RefusedPickle:
        if not reader.unknown:
            raise
    if reader.unknown:
        raise RefusedPickle("it names what weights never need", tuple(sorted(reader.unknown)))
    return content


_MARK = object()


class _Reader:
    """Follows a pickle's operations on records instead of objects.

    Attributes:
        unknown: the globals met so far that weights have no use for.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.unknown: set[str] = set()

    def follow(self, operation: str, argument: Any) -> None:
        step = _STEPS.get(operation)
        if step is None:
            raise RefusedPickle(
                f"it uses the pickle operation {operation}, which torch never writes"
            )
        step(self, argument)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_to_mark(self) -> list[Any]:
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is _MARK:
                values = self.stack[position + 1 :]
                del self.stack[position:]
                return values
        raise IndexError

    def make_tuple(self, count: int) -> None:
        values = tuple(self.stack[len(self.stack) - count :]) if count else ()
        if len(values) != count or any(value is _MARK for value in values):
            raise IndexError
        del self.stack[len(self.stack) - count :]
        self.push(values)

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise RefusedPickle("it appends to something other than a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise RefusedPickle("it sets items of something other than a dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[checked_key(key)] = value

    def name_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        if (module, name) in _compat_pickle.NAME_MAPPING:  # Python 2's names
            module, name = _compat_pickle.NAME_MAPPING[module, name]
        else:
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        full = f"{module}.{name}"
        if not (full in KNOWN_GLOBALS or full.startswith(CLASS_MODULES)):
            self.unknown.add(full)
        self.push(GlobalName(full))

    def persistent(self) -> None:
        kind, storage, key, _, count = self.stack.pop()
        if kind != "storage" or not isinstance(storage, GlobalName) or not isinstance(key, str):
            raise RefusedPickle("it refers to something other than a tensor's numbers")
        if storage.name not in STORAGES or not is_count(count):
            raise RefusedPickle(f"it has numbers of the kind {storage.name}")
        self.push(SavedStorage(STORAGES[storage.name], key, count))

    def new_object(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, GlobalName) or arguments != () or kind.name in CALLS:
            names = (kind.name,) if isinstance(kind, GlobalName) else ()
            raise RefusedPickle(
                f"it builds an object of {''.join(names) or 'a computed value'}", names
            )
        self.push(SavedObject(kind.name))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, GlobalName) or not isinstance(arguments, tuple):
            raise RefusedPickle("it calls a computed value")
        if function.name in self.unknown:  # refused at the end, with all of these names
            self.push(SavedObject(function.name))
            return
        stand_in = CALLS.get(function.name)
        if stand_in is None:
            raise RefusedPickle(f"it calls {function.name}", (function.name,))
        try:
            self.push(stand_in(*arguments))
        except (TypeError, ValueError) as error:
            raise ValueError(f"it calls {function.name} with other arguments than torch") from error

    def fill(self) -> None:
        state, subject = self.stack.pop(), self.stack[-1]
        if isinstance(subject, NumpyKind):
            subject.set_order(state)
        elif isinstance(subject, dict):  # of an OrderedDict; a state dict's versions lie there
            if not isinstance(state, dict) or not set(state) <= {"_metadata"}:
                raise RefusedPickle("it gives a dictionary attributes")
        elif isinstance(subject, SavedObject) and subject.state is None:
            if not isinstance(state, dict):
                raise RefusedPickle(f"it fills an object of {subject.kind} with no attributes")
            subject.state = state
        else:
            raise RefusedPickle("it fills an object that it has not just built")


def _store(reader: _Reader, index: int) -> None:
    reader.memo[index] = reader.stack[-1]


_STEPS: dict[str, Callable[[_Reader, Any], Any]] = {
    **dict.fromkeys(
        ("BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE", "LONG1", "SHORT_BINSTRING"),
        _Reader.push,
    ),
    "PROTO": lambda reader, _: None,
    "STOP": lambda reader, _: None,
    "NONE": lambda reader, _: reader.push(None),
    "NEWTRUE": lambda reader, _: reader.push(True),
    "NEWFALSE": lambda reader, _: reader.push(False),
    "EMPTY_DICT": lambda reader, _: reader.push({}),
    "EMPTY_LIST": lambda reader, _: reader.push([]),
    "EMPTY_SET": lambda reader, _: reader.push(set()),
    "EMPTY_TUPLE": lambda reader, _: reader.push(()),
    "MARK": lambda reader, _: reader.push(_MARK),
    "TUPLE": lambda reader, _: reader.push(tuple(reader.pop_to_mark())),
    "TUPLE1": lambda reader, _: reader.make_tuple(1),
    "TUPLE2": lambda reader, _: reader.make_tuple(2),
    "TUPLE3": lambda reader, _: reader.make_tuple(3),
    "APPEND": lambda reader, _: reader.append([reader.stack.pop()]),
    "APPENDS": lambda reader, _: reader.append(reader.pop_to_mark()),
    "SETITEM": lambda reader, _: reader.set_items([reader.stack.pop(-2), reader.stack.pop()]),
    "SETITEMS": lambda reader, _: reader.set_items(reader.pop_to_mark()),
    "GLOBAL": _Reader.name_global,
    "BINPERSID": lambda reader, _: reader.persistent(),
    "NEWOBJ": lambda reader, _: reader.new_object(),
    "REDUCE": lambda reader, _: reader.call(),
    "BUILD": lambda reader, _: reader.fill(),
    "BINPUT": _store,
    "LONG_BINPUT": _store,
    "BINGET": lambda reader, index: reader.push(reader.memo[index]),
    "LONG_BINGET": lambda reader, index: reader.push(reader.memo[index]),
}
