"""ONNX files that strict readers accept, too: the checker, shape inference and every ONNX Runtime.

Shapes of intermediate results are optional in the format. The simplifier states wrong ones in files
of open size; ONNX Runtime forgives that on a server, and not in a browser or in Node.js.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import IO, Any

from yolo_ema.errors import MachineError, first_line
from yolo_ema.io.atomic_files import atomic_path

_LOG_ID = "yolo-ema"


def make_valid(path: Path) -> None:
    """Put an ONNX file's operations in order, and infer the shapes that it states.

    Raises:
        MachineError: its operations contradict each other.
        DiskFullError: there is no room; the file is as it was.
    """
    import onnx

    model = onnx.load(path)
    _sort_operations(model.graph)
    del model.graph.value_info[:]
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise MachineError(
            f"export to onnx failed here: the converter wrote an invalid file: {first_line(error)}"
        ) from error
    with atomic_path(path) as temp:
        onnx.save(model, temp)


def _sort_operations(graph: Any) -> None:
    """Put operations behind those whose results they take: the conversion to fp16 appends its casts
    at the end.
    """
    made_by = {name: number for number, node in enumerate(graph.node) for name in node.output}
    needs = {
        number: {made_by[name] for name in _names_read(node) if name in made_by}
        for number, node in enumerate(graph.node)
    }
    if all(number > max(earlier, default=-1) for number, earlier in needs.items()):
        return
    nodes = [graph.node[number] for number in TopologicalSorter(needs).static_order()]
    del graph.node[:]
    graph.node.extend(nodes)


def _names_read(node: Any) -> Iterator[str]:
    """Yield the names of all results that an operation takes, those inside its branches too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _names_read(inner)


def onnx_problems(path: Path) -> list[str]:
    """Return what the ONNX checker, strict shape inference and ONNX Runtime say against a file.

    A session is made of the file on the CPU; nothing is run. There is a sentence for each of the
    three that objects; those whose package is missing are left out.
    """
    problems = [f"ONNX Runtime warns: {warning}" for warning in _session_warnings(path)[:1]]
    try:
        import onnx
    except ImportError:
        return problems
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        problems.append(f"the ONNX checker refuses it: {first_line(error)}")
    try:
        onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        problems.append(f"strict shape inference refuses it: {first_line(error)}")
    return problems


def _session_warnings(path: Path) -> list[str]:
    """Return what ONNX Runtime warns of while it loads a file; what it says of the machine is left
    out.
    """
    try:
        import onnxruntime
    except ImportError:
        return []
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.logid = 2, _LOG_ID
    with captured_stderr() as log:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    pattern = re.compile(rf"\[[WE]:onnxruntime:{_LOG_ID}, [^\]]*\] (.*?)(\x1b\[m)?$")
    return [match[1] for line in lines if (match := pattern.search(line))]


@contextlib.contextmanager
def captured_stderr() -> Iterator[IO[bytes]]:
    """Yield a file that takes what the block writes to stderr, compiled code included."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 2)
            yield log
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
