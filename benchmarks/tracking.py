"""How well identities last: HOTA, MOTA and IDF1 on drawn clips, with and without following the
camera's motion.

    python benchmarks/tracking.py --camera
    python benchmarks/tracking.py [--seeds 3] [--frames 30] [--fps 10] [--pace 2.5] [--trackers
    drone …] [--workers 2]
    python benchmarks/tracking.py --trackers drone rf-botsort+scores rf-cbiou+scores

Clips are drawn (`yolo_ema.scenes.draw_clip`): traffic, people who cross one another's paths, trees,
tall vehicles and bridges, under a camera that hangs still, pans, turns, climbs, or does all of
these, at ``pace`` times the speed of a calm flight. Detections are made from the truth with the
faults of a real detector (`faulty`). Every tracker gets the same detections and frames; all but
``drone`` run with Ultralytics' own settings. Names that begin with ``rf-`` are Roboflow's trackers
(`RoboflowTracker`), which are not among this project's dependencies: they want a numpy of 2.0.2 or
newer. ``pip install trackers`` into an environment of its own brings them. The scores are those of
TrackEval, whose authors proposed HOTA; classes play no part, and detections without an identity
count as missing. The last column is the processor time of one update.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from yolo_ema.boxes import box_iou
from yolo_ema.constants import VISDRONE_CLASSES
from yolo_ema.detect.tracker import Tracker
from yolo_ema.media.frames import Frame, FrameDetections
from yolo_ema.scenes import draw_clip
from yolo_ema.tracking.motion import CameraMotion, warp_points
from yolo_ema.tracking.small_object_tracker import SmallObjectSettings

MOTIONS: dict[str, tuple[str, ...]] = {
    "still": (),
    "pan": ("pan",),
    "turn": ("turn",),
    "climb": ("climb",),
    "all": ("pan", "turn", "climb"),
}
FOLLOWING = frozenset({"drone", "botsort", "deepocsort", "tracktrack", "rf-botsort"})
"""Trackers that can follow the camera's motion."""
ROBOFLOW = "rf-"
"""Prefix of the trackers of the package ``trackers``."""
COLUMNS = ("HOTA", "AssA", "MOTA", "IDF1", "IDSW")
CONFUSED = {3: 4, 4: 3, 0: 1, 1: 0, 6: 7, 7: 6, 2: 9, 9: 2, 5: 8, 8: 5}
"""Classes that detectors take for one another: car and van, pedestrian and people, …"""


@dataclass(frozen=True)
class TrueFrame:
    """A frame and what is in it: boxes (N, 4) in pixels, class ids (N,), identities (N,) and hidden
    (N,) 0, 1 or 2.
    """

    image_bgr: np.ndarray
    boxes_xyxy: np.ndarray
    class_ids: np.ndarray
    identities: np.ndarray
    hidden: np.ndarray
    time_s: float


def drawn(
    seed: int, motions: Sequence[str], *, frames: int, fps: float, **drawing: Any
) -> list[TrueFrame]:
    """Draw a clip and keep what has an identity."""
    settings = {
        "image_wh": (960, 540),
        "objects": 110,
        "range_m": (110.0, 160.0),
        "bridges": 2,
    } | drawing
    clip = []
    for index, scene in enumerate(
        draw_clip(seed, frames=frames, fps=fps, motions=motions, **settings)
    ):
        clip.append(true_frame(scene.image_bgr, scene.annotations, scene.identities, index / fps))
    return clip


def true_frame(
    image_bgr: np.ndarray, annotations: np.ndarray, identities: np.ndarray, time_s: float
) -> TrueFrame:
    """Return a frame of VisDrone's rows; those of classes that are not detected are left out."""
    rows = annotations[(identities > 0) & (annotations[:, 4] > 0)].astype(float)
    boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    numbers = identities[(identities > 0) & (annotations[:, 4] > 0)]
    return TrueFrame(
        image_bgr, boxes, rows[:, 5].astype(int) - 1, numbers, rows[:, 7].astype(int), time_s
    )


def faulty(clip: Iterable[TrueFrame], seed: int, *, missed: float = 0.17) -> list[FrameDetections]:
    """Return detections as a real detector makes them, always the same for one seed.

    One in six objects is missed, twice and four times as many of those half and mostly hidden, and
    misses come in runs: an object that was missed is missed again with half the chance of being
    seen. Borders jitter by 4 % of the side and 0.5 pixels, one class in twelve is taken for its
    like, scores fall with size and covering, and there are 4 false detections a frame, some of
    which stay for a while.
    """
    rng = np.random.default_rng([seed, 77])
    missing: set[int] = set()
    ghosts: list[np.ndarray] = []
    found = []
    for index, frame in enumerate(clip):
        chance = np.minimum(missed * np.array([1, 2, 4])[frame.hidden], 0.9)
        chance = np.where(
            [number in missing for number in frame.identities],
            (1 + chance) / 2,
            chance * (1 - chance),
        )
        seen = rng.random(len(chance)) >= chance
        missing = set(frame.identities[~seen].tolist())
        boxes = frame.boxes_xyxy[seen]
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = boxes + rng.normal(0, 1, boxes.shape) * (0.04 * sides + 0.5)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 2)
        size = np.sqrt(sides[:, :2].prod(axis=1))
        scores = np.clip(
            0.35
            + 0.1 * np.log2(size / 8)
            - 0.12 * frame.hidden[seen]
            + rng.normal(0, 0.1, len(size)),
            0.11,
            0.97,
        )
        classes = frame.class_ids[seen].copy()
        taken = rng.random(len(classes)) < 1 / 12
        classes[taken] = [CONFUSED[kind] for kind in classes[taken].tolist()]
        ghosts = [ghost for ghost in ghosts if rng.random() < 0.5] + [
            _ghost(rng, frame) for _ in range(rng.poisson(2))
        ]
        wrong = np.array(ghosts).reshape(-1, 4) + rng.normal(0, 0.7, (len(ghosts), 4))
        boxes = np.concatenate([boxes, wrong])
        scores = np.concatenate([scores, np.clip(rng.normal(0.28, 0.08, len(wrong)), 0.11, 0.6)])
        classes = np.concatenate([classes, rng.integers(0, 10, len(wrong))])
        order = np.argsort(-scores, kind="stable")
        found.append(_detections(frame, index, boxes[order], scores[order], classes[order]))
    return found


def perfect(clip: Iterable[TrueFrame]) -> list[FrameDetections]:
    """Return the truth as detections."""
    return [
        _detections(
            frame, index, frame.boxes_xyxy, np.full(len(frame.identities), 0.9), frame.class_ids
        )
        for index, frame in enumerate(clip)
    ]


def _ghost(rng: np.random.Generator, frame: TrueFrame) -> np.ndarray:
    height, width = frame.image_bgr.shape[:2]
    centre, side = rng.uniform(0, (width, height)), np.exp(rng.normal(2.9, 0.4, 2))
    return np.concatenate([centre - side / 2, centre + side / 2])


def _detections(
    frame: TrueFrame, index: int, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray
) -> FrameDetections:
    names = dict(enumerate(VISDRONE_CLASSES))
    return FrameDetections(
        Frame(frame.image_bgr, "drawn", index, frame.time_s),
        boxes,
        scores,
        classes.astype(np.int64),
        names,
    )


class RoboflowTracker:
    """A tracker of the package ``trackers``, called as `Tracker` is.

    ``rf-botsort`` and the like have the package's own settings; with ``+scores`` the score
    thresholds of ``drone``, since those of small objects are low; with ``+buffer`` also boxes that
    are widened by a third before they are compared.
    """

    def __init__(self, name: str, compensate: bool, fps: float) -> None:
        import trackers

        kind, *changes = name.removeprefix(ROBOFLOW).split("+")
        given: dict[str, Any] = {"frame_rate": fps, "lost_track_buffer": 60}  # two seconds
        if kind == "botsort":
            given["enable_cmc"] = compensate
        if "scores" in changes:
            given["high_conf_det_threshold"] = SmallObjectSettings.strong_score
            if kind != "ocsort":
                given["track_activation_threshold"] = SmallObjectSettings.new_score
        if "buffer" in changes:
            given["iou"] = trackers.BIoU(buffer_ratio=1 / 3)
        kinds = {
            "botsort": trackers.BoTSORTTracker,
            "bytetrack": trackers.ByteTrackTracker,
            "cbiou": trackers.CBIoUTracker,
            "ocsort": trackers.OCSORTTracker,
        }
        self._tracker = kinds[kind](**given)

    def update(self, detections: FrameDetections) -> FrameDetections:
        """Return the same detections with identities, -1 where there is none."""
        import supervision

        given = supervision.Detections(
            xyxy=detections.boxes_xyxy.astype(np.float32),
            confidence=detections.scores.astype(np.float32),
            class_id=detections.class_ids,
            data={"row": np.arange(len(detections))},
        )
        frame = detections.frame
        result = self._tracker.update(given, frame=frame.image_bgr, timestamp=frame.time_s)
        track_ids = np.full(len(detections), -1)
        if len(result) and result.tracker_id is not None:
            track_ids[result.data["row"]] = result.tracker_id
        return replace(detections, track_ids=track_ids)


def tracked(
    found: Sequence[FrameDetections],
    preset: str,
    compensate: bool,
    fps: float,
    settings: SmallObjectSettings | None = None,
) -> tuple[list[FrameDetections], float]:
    """Return the detections with identities, and the milliseconds of processor time of one
    update.
    """
    tracker = (
        RoboflowTracker(preset, compensate, fps)
        if preset.startswith(ROBOFLOW)
        else Tracker(preset=preset, compensate_motion=compensate, frame_rate=fps, settings=settings)
    )
    start = time.process_time()
    result = [tracker.update(one) for one in found]
    return result, (time.process_time() - start) * 1000 / max(len(found), 1)


def scores(clip: Sequence[TrueFrame], found: Sequence[FrameDetections]) -> dict[str, Any]:
    """Return TrackEval's results of one clip, by metric."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    quiet = {"PRINT_CONFIG": False}
    metrics = {"HOTA": HOTA(), "CLEAR": CLEAR(quiet), "Identity": Identity(quiet)}
    data = _for_trackeval(clip, found)
    return {name: metric.eval_sequence(data) for name, metric in metrics.items()}


def combined(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the scores of several clips as one, in percent; IDSW is a count."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    quiet = {"PRINT_CONFIG": False}
    total = {
        name: metric.combine_sequences({str(n): one[name] for n, one in enumerate(results)})
        for name, metric in (
            ("HOTA", HOTA()),
            ("CLEAR", CLEAR(quiet)),
            ("Identity", Identity(quiet)),
        )
    }
    return {
        "HOTA": 100 * float(np.mean(total["HOTA"]["HOTA"])),
        "AssA": 100 * float(np.mean(total["HOTA"]["AssA"])),
        "DetA": 100 * float(np.mean(total["HOTA"]["DetA"])),
        "MOTA": 100 * float(total["CLEAR"]["MOTA"]),
        "IDF1": 100 * float(total["Identity"]["IDF1"]),
        "IDSW": int(total["CLEAR"]["IDSW"]),
    }


def _for_trackeval(clip: Sequence[TrueFrame], found: Sequence[FrameDetections]) -> dict[str, Any]:
    """Return a clip as TrackEval's metrics take it: identities from 0, and the overlap of all pairs
    of a frame.
    """
    kept = [
        (one.boxes_xyxy[one.track_ids >= 0], one.track_ids[one.track_ids >= 0])
        for one in found
        if one.track_ids is not None
    ]
    true_numbers, true_ids = _renumbered([frame.identities for frame in clip])
    numbers, ids = _renumbered([ids for _, ids in kept])
    return {
        "num_timesteps": len(clip),
        "num_gt_ids": true_numbers,
        "num_tracker_ids": numbers,
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, ids)),
        "gt_ids": true_ids,
        "tracker_ids": ids,
        "similarity_scores": [
            box_iou(frame.boxes_xyxy[:, None], boxes)
            for frame, (boxes, _) in zip(clip, kept, strict=True)
        ],
    }


def _renumbered(ids: Sequence[np.ndarray]) -> tuple[int, list[np.ndarray]]:
    known, flat = np.unique(np.concatenate([*ids, np.zeros(0, int)]), return_inverse=True)
    return len(known), np.split(flat, np.cumsum([len(one) for one in ids])[:-1])


@dataclass(frozen=True)
class Clip:
    """What to draw and score: by one worker."""

    motion: str
    seed: int
    frames: int
    fps: float
    pace: float
    peers: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a clip: TrackEval's results and milliseconds of each peer, numbers of objects,
    and their sizes in pixels.
    """

    motion: str
    results: dict[tuple[str, bool], dict[str, Any]]
    spent: dict[tuple[str, bool], float]
    counts: list[int]
    sides: np.ndarray


def played(job: Clip) -> Outcome:
    """Draw a clip and run all peers on it."""
    cv2.setNumThreads(1)
    clip = drawn(job.seed, MOTIONS[job.motion], frames=job.frames, fps=job.fps, pace=job.pace)
    found = faulty(clip, job.seed)
    results, spent = {}, {}
    for name, follow in job.peers:
        preset, _, change = name.partition(" ")
        given, spent[name, follow] = tracked(found, preset, follow, job.fps, _changed(change))
        results[name, follow] = scores(clip, given)
    sides = [
        np.sqrt((frame.boxes_xyxy[:, 2:] - frame.boxes_xyxy[:, :2]).prod(axis=1)) for frame in clip
    ]
    return Outcome(
        job.motion, results, spent, [len(frame.identities) for frame in clip], np.concatenate(sides)
    )


def main() -> None:
    """Run, print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--pace", type=float, default=2.5)
    parser.add_argument("--motions", nargs="+", choices=list(MOTIONS), default=list(MOTIONS))
    parser.add_argument("--trackers", nargs="+", default=["drone", "botsort", "bytetrack"])
    parser.add_argument(
        "--variants",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings to change in drone, one at a time",
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--camera",
        action="store_true",
        help="only measure what following the camera costs on 1080p",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.camera:
        print_camera_cost()
        return
    peers = [
        (name, follow)
        for name in options.trackers
        for follow in ((False, True) if name.partition("+")[0] in FOLLOWING else (False,))
    ]
    peers += [(f"drone {change}", True) for change in options.variants]
    jobs = [
        Clip(motion, seed, options.frames, options.fps, options.pace, tuple(peers))
        for motion, seed in itertools.product(options.motions, range(options.seeds))
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        outcomes = list(pool.map(played, jobs))
    rows: list[dict[str, Any]] = []
    for peer in peers:
        spent = float(np.median([one.spent[peer] for one in outcomes]))
        for motion in (*options.motions, "together"):
            total = combined(
                [one.results[peer] for one in outcomes if motion in {one.motion, "together"}]
            )
            rows.append(
                {"tracker": peer[0], "followed": peer[1], "camera": motion, "ms": spent} | total
            )
    if options.json:
        print(json.dumps(rows))
        return
    tenth, half = np.percentile(np.concatenate([one.sides for one in outcomes]), [10, 50])
    objects = np.mean([count for one in outcomes for count in one.counts])
    length = f"{options.frames} frames at {options.fps:g} a second, pace {options.pace:g}"
    small = f"half of them under {half:.0f} pixels, a tenth under {tenth:.0f} (root of the area)"
    print(
        f"{options.seeds} clips of 960x540 a camera motion, {length}; {objects:.0f} objects a "
        f"frame, {small}\n"
    )
    print_table(rows)


def print_camera_cost(rounds: int = 30) -> None:
    """Print the processor time of one 1080p frame with 100 objects, ours and Ultralytics', on one
    core, and how exact both are.
    """
    from ultralytics.trackers.utils.gmc import GMC

    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    ground = cv2.resize(
        next(draw_clip(5, frames=1, objects=60)).image_bgr,
        (1920, 1080),
        interpolation=cv2.INTER_CUBIC,
    )
    corners = np.array([[0, 0], [1920, 0], [1920, 1080], [0, 1080.0]])
    boxes = np.tile(rng.uniform(0, 1000, (100, 2)), 2) + np.array([0, 0, 20, 20])
    spent: dict[str, list[float]] = {"ours": [], "Ultralytics'": []}
    errors: dict[str, list[float]] = {"ours": [], "Ultralytics'": []}
    for _ in range(rounds):
        turn, zoom, shift, tilt = (
            rng.uniform(-0.02, 0.02),
            rng.uniform(0.98, 1.02),
            rng.uniform(-30, 30, 2),
            rng.uniform(-1e-5, 1e-5, 2),
        )
        middle = np.array([[1, 0, 960], [0, 1, 540], [0, 0, 1.0]])
        cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
        step = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]], [*tilt, 1.0]])
        truth = middle @ step @ np.linalg.inv(middle)
        after = cv2.warpPerspective(
            ground, truth, (1920, 1080), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        ours = functools.partial(CameraMotion().update, boxes_xyxy=boxes)
        for name, take in (("ours", ours), ("Ultralytics'", GMC("sparseOptFlow").apply)):
            take(ground)
            start = time.process_time()
            found = np.vstack([take(after), [0, 0, 1.0]])[:3]
            spent[name].append((time.process_time() - start) * 1000)
            errors[name].append(
                float(np.abs(warp_points(corners, found) - warp_points(corners, truth)).max())
            )
    print(
        "| camera motion, 1080p | ms (median) | error at the corners, pixels (median) | (worst) "
        "|\n|---|--:|--:|--:|"
    )
    for name in spent:
        print(
            f"| {name} | {np.median(spent[name]):.1f} | {np.median(errors[name]):.2f} | "
            f"{max(errors[name]):.2f} |"
        )


def _changed(change: str) -> SmallObjectSettings | None:
    """Return the settings with one of them changed, from ``key=value``."""
    key, _, value = change.partition("=")
    return replace(SmallObjectSettings(), **{key: float(value)}) if change else None


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print Markdown."""
    print(
        "| tracker | motion followed | camera | "
        + " | ".join(COLUMNS)
        + " | ms |\n|---|---|---|"
        + "--:|" * (len(COLUMNS) + 1)
    )
    for row in rows:
        figures = " | ".join(
            f"{row[key]:d}" if key == "IDSW" else f"{row[key]:.1f}" for key in COLUMNS
        )
        print(
            f"| {row['tracker']} | {'yes' if row['followed'] else 'no'} | {row['camera']} | "
            f"{figures} | {row['ms']:.1f} |"
        )


if __name__ == "__main__":
    main()
