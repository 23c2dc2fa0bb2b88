"""One run of Ultralytics' exporter: without network, quiet, with errors that say what to do."""

from __future__ import annotations

import ast
import contextlib
import copy
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn
from ultralytics.engine.exporter import Exporter
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, callbacks

from yolo_ema.engine.export.onnx_file import captured_stderr, make_valid
from yolo_ema.engine.setup.environment import use_all_cores
from yolo_ema.engine.setup.no_network_no_install import no_network_no_install
from yolo_ema.errors import ConfigError, MachineError, MissingPackageError, YoloEmaError, first_line
from yolo_ema.io.text_files import say
from yolo_ema.nn import trace_for

_EXTRAS = {"onnx": "onnx", "openvino": "openvino", "ncnn": "ncnn", "torchscript": ""}
"""Formats whose packages an extra of this project installs, by its name."""

_UNMET = re.compile(r"Ultralytics requirements? (\[.*\]) not found")
"""How Ultralytics' log names packages that it would install if it were allowed to."""

_NO_LABELS = re.compile(r"labels", re.IGNORECASE)
"""Warnings about calibration images, which need no labels."""


def run_exporter(
    model: nn.Module,
    name: str,
    settings: Mapping[str, Any],
    folder: Path,
    *,
    stem: str,
    entries: Mapping[str, Any],
) -> Path:
    """Write a model as ``folder/stem`` in a format, with ``entries`` in its metadata beside
    Ultralytics' own; return the file or folder. The model stays as it is.

    Raises:
        ConfigError: the format does not take a setting.
        MissingPackageError: a package that the format needs is not installed.
        MachineError: the format cannot be written on this machine.
    """
    model = copy.deepcopy(model)
    model.pt_path = str(folder / f"{stem}.pt")  # the exporter writes next to this
    # The path of the training data is nobody's business.
    model.args = {**DEFAULT_CFG_DICT, "data": ""}
    trace_for(
        model,
        fixed_size=not settings.get("dynamic"),
        prefolded=not settings.get("simplify", DEFAULT_CFG_DICT["simplify"]),
    )
    hooks = callbacks.get_default_callbacks()
    hooks["on_export_start"].append(lambda exporter: exporter.metadata.update(entries))
    heard: list[str] = []
    try:
        # Tracing warns of every branch on a shape; the proof afterwards says whether one mattered.
        with (
            no_network_no_install(),
            _listening(heard),
            warnings.catch_warnings(),
            torch.inference_mode(False),
        ):
            warnings.simplefilter("ignore")
            # ncnn's converter writes hundreds of lines.
            with captured_stderr() if name == "ncnn" else contextlib.nullcontext():
                path = Path(Exporter(overrides=dict(settings), _callbacks=hooks)(model=model))
            if name == "onnx":
                make_valid(path)
    except (YoloEmaError, MemoryError):
        raise
    except Exception as error:  # converters have errors of their own
        _explain(name, error, heard)
    finally:
        use_all_cores()
    for warning in heard:
        # That it prefers another version is not news: the proof says whether this one works.
        if not _UNMET.search(warning) and not _NO_LABELS.search(warning):
            say(f"export to {name}: {warning}")
    if name == "ncnn":
        _check_operators(path)
    return path


def install_line(name: str, packages: list[str]) -> str:
    """Return the command that installs the packages a format needs."""
    requirements = [f"yolo-ema[{_EXTRAS[name]}]"] if _EXTRAS.get(name) else packages
    return "pip install " + " ".join(f"'{package}'" for package in requirements)


def _explain(name: str, error: Exception, heard: list[str]) -> NoReturn:
    """Raise the exporter's error in terms of the user's request."""
    text = first_line(error).removeprefix("ERROR ❌️ ")
    if isinstance(error, ImportError):
        unmet = [
            package
            for line in heard
            if (match := _UNMET.search(line))
            for package in ast.literal_eval(match[1])
        ]
        missing = (error.name or "").partition(".")[0]
        if not missing:  # a program, as a vendor's compiler
            raise MissingPackageError(f"export to {name} is not possible here: {text}") from error
        line = install_line(
            name, [package for package in unmet if not package.startswith("numpy")] or [missing]
        )
        raise MissingPackageError(
            f"export to {name} needs the package {missing}; install it with: {line}"
        ) from error
    if isinstance(error, OSError) and error.errno is not None:
        raise error
    if isinstance(error, AssertionError | ValueError | TypeError):
        raise ConfigError(f"export to {name} is refused by Ultralytics: {text}") from error
    raise MachineError(f"export to {name} failed here: {text}") from error


@contextlib.contextmanager
def _listening(heard: list[str]) -> Iterator[None]:
    """Collect Ultralytics' warnings instead of showing them; its errors are raised anyway."""

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            heard.append(re.sub(r"\x1b\[\d+m|^WARNING ⚠️ ", "", record.getMessage()))
        return False

    LOGGER.addFilter(keep)
    try:
        yield
    finally:
        LOGGER.removeFilter(keep)


def _check_operators(path: Path) -> None:
    """Raise `MachineError` if ncnn's converter left operators of PyTorch in the file: ncnn crashes
    on loading them.
    """
    lines = next(path.glob("*.param")).read_text(encoding="utf-8").splitlines()[2:]
    kinds = {line.split(maxsplit=1)[0] for line in lines if line.strip()}
    if unknown := sorted(kind for kind in kinds if not kind.isalnum()):
        raise MachineError(
            f"export to ncnn failed here: its converter pnnx does not know {', '.join(unknown)}"
        )
