"""The command line: parses, calls one public function, prints, maps errors to exit codes."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from yolo_ema._version import __version__
from yolo_ema.errors import DiskFullError, MachineError, YoloEmaError, missing_packages_named
from yolo_ema.io.scratch_folders import no_temp_folder
from yolo_ema.io.signals import signals_handled
from yolo_ema.io.streams import let_go, stderr_may_close
from yolo_ema.io.text_files import printable
from yolo_ema.options.parser import Verb, build_parser, options_from_namespace, resolve

INTERRUPTED = 130
_OF_THE_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)
FAMILIES = {
    "data": "prepare or inspect a dataset",
    "classify": "train, score and export image classifiers with attention",
}

VERBS = (
    Verb(
        "train",
        "train on VisDrone or your own data",
        "yolo_ema.options.train:TrainOptions",
        "yolo_ema.engine.training.train:train",
        (
            "train                         # VisDrone, fetched if absent, balanced preset",
            "train --data my.yaml --model yolo11n-ema --epochs 50 optimizer=AdamW lr0=0.002",
            "train --resume runs/train/yolo11s-ema/weights/last.pt",
        ),
    ),
    Verb(
        "val",
        "score weights on a dataset: VisDrone's official protocol and COCO's",
        "yolo_ema.options.val:ValOptions",
        "yolo_ema.report.validation_page.html_page:val",
        (
            "val --weights best.pt --data visdrone",
            "val --weights best.onnx --data visdrone --split test-dev --report report/",
        ),
    ),
    Verb(
        "detect",
        "find objects in images, videos, cameras and network streams",
        "yolo_ema.options.detect:DetectOptions",
        "yolo_ema.detect.verb:detect_any",
        (
            "detect flight.mp4 --weights best.pt",
            "detect photos/ --weights best.onnx --tile 640x640 --save coco,annotated --out boxes",
            "detect flight.mp4 --weights best.pt --track --count-line gate=0.1,0.5,0.9,0.5",
            "detect uav0000013/ --weights best.pt --track --fps 30 --save visdrone-mot",
            "detect rtsp://10.0.0.7/live 0 --weights best.pt --serve 8080 --save jsonl",
            "detect ortho.tif --weights best.pt --out boxes    # GeoTIFF: polygons on the map",
        ),
    ),
    Verb(
        "archive",
        "detect on thousands of videos and images, on one machine or many, into one dataset",
        "yolo_ema.options.archive:ArchiveOptions",
        "yolo_ema.archive.run:archive",
        (
            "archive flights/ --weights best.pt --out boxes",
            "archive flights/ --weights best.pt --out boxes --telemetry auto    # with positions",
            "archive flights/ --weights best.pt --out boxes --shard 3/100    # of a job array",
            (
                "archive s3://bucket/flights --weights best.pt --out s3://bucket/boxes "
                "--engine ray --address head:6379"
            ),
        ),
    ),
    Verb(
        "locate",
        "put what detect found on the map: objects, paths, speeds, each with its error ellipse",
        "yolo_ema.options.locate:LocateOptions",
        "yolo_ema.detect.locate:locate",
        (
            "locate detections.jsonl --telemetry flight.SRT --out objects.geojson",
            "locate runs/detect/detections.jsonl --dem terrain.tif --out map.html map.gpkg",
            "locate morning.jsonl noon.jsonl --camera mavic3 --pitch -60 --yaw 90 --out day.kml",
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
            "bench --weights best.pt       # .pt, ONNX, OpenVINO, TorchScript, ncnn",
            "bench --weights best.pt --artifact best.onnx best_openvino_model --json",
            "bench --weights best.pt --format onnx,openvino --quantize int8 --data visdrone",
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
            "ablate experiments/paper/cifar100-resnet50.yaml --device 0    # classifiers",
            "ablate experiments/placement.yaml --report-only --markdown docs/experiments.md",
        ),
    ),
    Verb(
        "classify train",
        "train an image classifier with an attention block by a recipe of the paper",
        "yolo_ema.options.classify:ClassifyTrainOptions",
        "yolo_ema.classify.training:train",
        (
            "classify train --data cifar100 --attention ema-g32",
            "classify train --data photos/ --model resnet18-cifar --imgsz 64 --epochs 20",
            "classify train --resume runs/classify/resnet50-cifar-ema-g32/last.pt",
        ),
    ),
    Verb(
        "classify val",
        "score a classifier: top-1 and top-5",
        "yolo_ema.options.classify:ClassifyValOptions",
        "yolo_ema.classify.validation:val",
        ("classify val --weights best.pt", "classify val --weights best.pt --data photos/ --json"),
    ),
    Verb(
        "classify export",
        "write a classifier as ONNX, proven to give the same answers",
        "yolo_ema.options.classify:ClassifyExportOptions",
        "yolo_ema.classify.exporting:export",
        ("classify export --weights best.pt --images photos/val",),
    ),
    Verb(
        "models",
        "list the shipped models",
        "yolo_ema.options.models:ModelsOptions",
        "yolo_ema.engine.models.catalog:list_models",
        ("models", "models yolo11n-ema --attention all", "models --json"),
    ),
    Verb(
        "demo",
        "learn from drawn scenes, score, detect, export and check, in minutes on two cores",
        "yolo_ema.options.demo:DemoOptions",
        "yolo_ema.report.demo:demo",
        ("demo", "demo --out demo --seed 1 --json"),
    ),
    Verb(
        "doctor",
        "say what this installation and machine can do, and prove a GPU",
        "yolo_ema.options.doctor:DoctorOptions",
        "yolo_ema.doctor.verb:doctor",
        (
            "doctor                                         # what a bug report needs",
            "doctor --gpu --out gpu                         # a page and a JSON, in minutes",
            "doctor --gpu --device cpu                      # the same checks in miniature",
        ),
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: see `yolo_ema.errors` for the numbers."""
    words = list(sys.argv[1:] if argv is None else argv)
    _settle_streams()
    # SIGTERM (`timeout`, containers, service managers) ends a run as cleanly as Ctrl-C does.
    with stderr_may_close(), signals_handled(signal.default_int_handler, signal.SIGTERM):
        try:
            return _main(words)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)  # noqa: T201
            return INTERRUPTED


def _settle_streams() -> None:
    """Let no name of a file or class that the terminal's encoding lacks end a run after its work.

    A stream that was closed before the start is None; what is written to it goes nowhere.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - stays open
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _main(words: list[str]) -> int:
    try:
        parser = build_parser(VERBS, words, __version__, families=FAMILIES)
        namespace, unknown = parser.parse_known_args(words)
        if unknown := _without_settings(namespace, unknown):
            namespace.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        return _run(namespace)
    except YoloEmaError as error:
        _report(error, debug=namespace.debug)
        return error.exit_code
    except Exception as error:  # the last line of defence: say it is ours, and how to see more
        _report(error, debug=namespace.debug)
        return 1 if _machines_problem(error) is None else MachineError.exit_code


def _without_settings(namespace: argparse.Namespace, unknown: list[str]) -> list[str]:
    """Move ``key=value`` words that argparse no longer places into the verb's settings.

    It stops placing them after the first flag that follows one.
    """
    if not hasattr(namespace, "settings"):
        return unknown
    placed = [word for word in unknown if "=" in word and not word.startswith("-")]
    namespace.settings = [*namespace.settings, *placed]
    return [word for word in unknown if word not in placed]


def _run(namespace: argparse.Namespace) -> int:
    verb: Verb = namespace.verb
    # The options are checked before anything heavy is imported.
    options = options_from_namespace(resolve(verb.options), namespace)
    # stdout carries the result alone, whatever libraries print.
    with contextlib.redirect_stdout(sys.stderr), missing_packages_named(verb.words):
        result = resolve(verb.run)(options)
    if not getattr(result, "is_told", True):  # of several processes that train, one does
        return 0
    if namespace.json:
        _print_result(json.dumps(result.as_json(), allow_nan=False))
    else:
        _print_result(printable(result.as_text()))
    return int(getattr(result, "exit_code", 0))


def _print_result(text: str) -> None:
    """Print to stdout, if anyone still reads it. Raises `DiskFullError` where it is a file on a
    full disk.
    """
    try:
        print(text, flush=True)  # noqa: T201
    except OSError as error:
        # What is left in the buffer cannot be written when Python ends, either.
        let_go(sys.stdout)
        # As Windows calls a pipe that nobody reads any more.
        if isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL:
            return
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFullError(
            "the result could not be written to stdout: the disk is full"
        ) from error


def _machines_problem(error: Exception) -> str | None:
    """Return what the machine lacks or refuses, in words; None for an error of another cause."""
    if isinstance(error, MemoryError):
        return f"not enough memory{': ' * bool(str(error))}{error}"
    if not isinstance(error, OSError):
        return None
    if error.filename is not None and error.strerror is not None:  # no permission, read-only, …
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return no_temp_folder(error) or (
        str(error.strerror) if error.errno in _OF_THE_MACHINE else None
    )


def _report(error: Exception, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    message = str(error)
    if not isinstance(error, YoloEmaError):
        message = _machines_problem(error) or (
            f"unexpected {type(error).__name__}: {message} (this is a bug in yolo-ema; --debug "
            "shows where)"
        )
    message = " ".join(message.split())
    with contextlib.suppress(OSError):  # no one can be told any more
        print(f"yolo-ema: error: {printable(message)}", file=sys.stderr, flush=True)  # noqa: T201
