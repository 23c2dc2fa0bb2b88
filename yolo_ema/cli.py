"""The command line: parses, calls one public function, prints, maps errors to exit codes."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import yolo_ema
from yolo_ema.errors import MachineError, YoloEmaError, did_you_mean
from yolo_ema.options.fields import Options, add_arguments, options_from_namespace

__all__ = ["main"]

INTERRUPTED = 130


@dataclass(frozen=True)
class Verb:
    """One command: its words, where its options and its function stand, and examples for
    ``--help``.

    The function takes the options and returns a result with ``as_json() -> dict`` and ``as_text()
    -> str``.
    """

    words: str
    summary: str
    options: str
    run: str
    examples: tuple[str, ...]


VERBS = (
    Verb(
        "train",
        "train on VisDrone or your own data",
        "yolo_ema.options.train:TrainOptions",
        "yolo_ema.engine.training.train:train",
        (
            (
                "train                                          # VisDrone, fetched if absent, "
                "balanced preset"
            ),
            "train --data my.yaml --model yolo11n-ema --epochs 50 optimizer=AdamW lr0=0.002",
            "train --resume runs/train/yolo11s-ema/weights/last.pt",
        ),
    ),
    Verb(
        "val",
        "score weights on a dataset: VisDrone's official protocol and COCO's",
        "yolo_ema.options.val:ValOptions",
        "yolo_ema.report.validation_page.validation:validate_and_report",
        (
            "val --weights best.pt --data visdrone",
            "val --weights best.onnx --data visdrone --split test-dev --report report/",
        ),
    ),
    Verb(
        "detect",
        "find objects in images, videos, cameras and network streams",
        "yolo_ema.options.detect:DetectOptions",
        "yolo_ema.detect.run:detect",
        (
            "detect flight.mp4 --weights best.pt",
            "detect photos/ --weights best.onnx --tile 640x640 --save coco,annotated --out boxes",
            "detect flight.mp4 --weights best.pt --track --count-line gate=0.1,0.5,0.9,0.5",
            (
                "detect sequences/uav0000013 --weights best.pt --track --fps 30 --save "
                "annotated,visdrone-mot"
            ),
            "detect rtsp://10.0.0.7/live 0 --weights best.pt --serve 8080 --save jsonl",
        ),
    ),
    Verb(
        "export",
        "write weights in a format for deployment, proven to give the same boxes",
        "yolo_ema.options.export:ExportOptions",
        "yolo_ema.deploy.publish:export",
        (
            "export --weights best.pt --format onnx",
            "export --weights best.pt --format onnx,openvino --imgsz 384,640 --images photos/",
            "export --weights best.pt --format openvino --quantize int8 --data visdrone",
        ),
    ),
    Verb(
        "verify",
        "prove again, on this machine, that an exported file gives the boxes of its weights",
        "yolo_ema.options.verify:VerifyOptions",
        "yolo_ema.deploy.verify:verify",
        (
            "verify best.onnx --weights best.pt",
            "verify best-int8_openvino_model --weights best.pt --data visdrone --report proof.json",
            "verify best-unproven.engine --weights best.pt --device 0 --trust --accept",
        ),
    ),
    Verb(
        "bench",
        "compare the runtimes of these weights on this machine: speed, memory, size, boxes",
        "yolo_ema.options.bench:BenchOptions",
        "yolo_ema.deploy.bench.run:bench",
        (
            (
                "bench --weights best.pt                        # .pt, ONNX, OpenVINO, "
                "TorchScript, "
                "ncnn"
            ),
            (
                "bench --weights best.pt --artifact best.onnx best_openvino_model --images photos/ "
                "--json"
            ),
            (
                "bench --weights best.pt --format onnx,openvino --quantize int8 --data visdrone "
                "--imgsz 384,640"
            ),
        ),
    ),
    Verb(
        "score",
        "score any detector's result files by the official protocol",
        "yolo_ema.options.score:ScoreOptions",
        "yolo_ema.metrics.score:score",
        ("score --annotations annotations/ --results results/ --images images/ --json",),
    ),
    Verb(
        "data prepare",
        "fetch VisDrone, or take what you have, and derive labels from it",
        "yolo_ema.options.data:PrepareOptions",
        "yolo_ema.visdrone.prepare:prepare",
        (
            "data prepare visdrone",
            "data prepare visdrone --source VisDrone2019-DET-val.zip --splits val",
        ),
    ),
    Verb(
        "data inspect",
        "tables, plots and a contact sheet of a dataset",
        "yolo_ema.options.data:InspectOptions",
        "yolo_ema.report.inspect.inspection:inspect",
        ("data inspect datasets/visdrone", "data inspect my.yaml --imgsz 960 --json"),
    ),
    Verb(
        "ablate",
        "run a study: paired trainings that differ in one thing, with records, table and plots",
        "yolo_ema.options.ablate:AblateOptions",
        "yolo_ema.studies.ablation:ablate",
        (
            "ablate experiments/full/placement.yaml --device 0",
            "ablate experiments/placement.yaml --list",
            "ablate experiments/full/placement.yaml --only none:0 both:0",
            "ablate experiments/placement.yaml --report-only --markdown docs/experiments.md",
        ),
    ),
    Verb(
        "models",
        "list the shipped models",
        "yolo_ema.options.models:ModelsOptions",
        "yolo_ema.engine.models.catalog:list_models",
        ("models", "models --json"),
    ),
    Verb(
        "demo",
        "learn from drawn scenes, score, detect, export and check, in minutes on two cores",
        "yolo_ema.options.demo:DemoOptions",
        "yolo_ema.report.demo:demo",
        ("demo", "demo --out demo --seed 1 --json"),
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: see `yolo_ema.errors` for the numbers."""
    words = list(sys.argv[1:] if argv is None else argv)
    with _sigterm_interrupts():
        return _main(words)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM, which `timeout`, container stops and service managers send, end a run as cleanly
    as Ctrl-C does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: set by other than Python


def _main(words: list[str]) -> int:
    try:
        namespace, unknown = _parser(words).parse_known_args(words)
        if unknown := _without_settings(namespace, unknown):
            namespace.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return _run(namespace)
    except YoloEmaError as error:
        _report(error, debug=namespace.debug)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last line of defence: say it is ours, and how to see more
        _report(error, debug=namespace.debug)
        return MachineError.exit_code if _is_about_a_file(error) else 1


def _is_about_a_file(error: Exception) -> bool:
    """Say whether the system refused a file or folder that it names: no permission, read-only, a
    file where a folder should be.
    """
    return isinstance(error, OSError) and error.filename is not None and error.strerror is not None


def _without_settings(namespace: argparse.Namespace, unknown: list[str]) -> list[str]:
    """Give back to the verb's settings the ``key=value`` words that argparse, once past the first
    of them, doesn't place.
    """
    if not hasattr(namespace, "settings"):
        return unknown
    placed = [word for word in unknown if "=" in word and not word.startswith("-")]
    namespace.settings = [*namespace.settings, *placed]
    return [word for word in unknown if word not in placed]


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _run(namespace: argparse.Namespace) -> int:
    verb: Verb = namespace.verb
    options = options_from_namespace(
        _resolve(verb.options), namespace
    )  # checked before anything heavy is imported
    with contextlib.redirect_stdout(
        sys.stderr
    ):  # stdout carries the result alone, whatever libraries print
        result = _resolve(verb.run)(options)
    print(json.dumps(result.as_json(), allow_nan=False) if namespace.json else result.as_text())  # noqa: T201
    return int(getattr(result, "exit_code", 0))


def _report(error: Exception, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    message = " ".join(str(error).split())
    if isinstance(error, OSError) and _is_about_a_file(error):
        message = f"{error.filename}: {error.strerror}"
    elif not isinstance(error, YoloEmaError):
        message = (
            f"unexpected {type(error).__name__}: {message} (this is a fault of yolo-ema's; "
            f"--debug shows where)"
        )
    print(f"yolo-ema: error: {message}", file=sys.stderr)  # noqa: T201


def _resolve(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


class _Parser(argparse.ArgumentParser):
    """Names the closest verb or flag when one is mistyped."""

    def error(self, message: str) -> NoReturn:
        """Print usage and the message, with the closest known word, and exit with 2."""
        known = [flag for action in self._actions for flag in action.option_strings]
        known += [str(word) for action in self._actions for word in action.choices or ()]
        mistyped = re.search(r"invalid choice: '([^']+)'|unrecognized arguments: (\S+)", message)
        hint = (
            did_you_mean((mistyped[1] or mistyped[2]).partition("=")[0], known) if mistyped else ""
        )
        super().error(message + hint)


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser. Only the verb that was called imports its options, so that ``--help``
    answers at once.
    """
    parser = _Parser(
        prog="yolo-ema", description="Drone-view object detection: YOLO with EMA attention."
    )
    parser.add_argument("--version", action="version", version=f"yolo-ema {yolo_ema.__version__}")
    top = parser.add_subparsers(metavar="VERB", required=True)
    groups: dict[str, Any] = {}
    called = " ".join(words[:2])
    for verb in VERBS:
        group, _, name = verb.words.rpartition(" ")
        if group and group not in groups:
            groups[group] = top.add_parser(
                group, help=f"{group}: see 'yolo-ema {group} --help'"
            ).add_subparsers(metavar="VERB", required=True)
        place = groups[group] if group else top
        sub = place.add_parser(
            name,
            help=verb.summary,
            description=verb.summary[0].upper() + verb.summary[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  yolo-ema {example}" for example in verb.examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if called.startswith(verb.words):
            add_arguments(sub, _options_class(verb))
        sub.add_argument(
            "--json", action="store_true", help="print the result as JSON on stdout, for machines"
        )
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(verb=verb, parser=sub)
    return parser


def _options_class(verb: Verb) -> type[Options]:
    return _resolve(verb.options)
