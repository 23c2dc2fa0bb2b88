"""How a model is addressed: a bare name such as ``yolo11s-ema``, or the path of a model YAML.

The scale (n, s, m, l, x) stands in the name, after ``yolo`` and its number, as Ultralytics reads
it; the file holds all scales. Beside our own models their plain counterparts in Ultralytics
(``yolo11s``, ``yolov8s-p2``) are known, for comparison, and ours with another attention block in
EMA's places, by its name in place of EMA's: ``yolo11s-cbam``, ``yolov8n-none-p2``.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from pathlib import Path

from ultralytics.utils import ROOT

from yolo_ema.errors import ModelError, did_you_mean
from yolo_ema.io.machine import with_home
from yolo_ema.io.resources import models_dir
from yolo_ema.io.yaml_files import YamlFileError, read_yaml
from yolo_ema.nn.attention.catalog import ATTENTIONS, Attention

# The same letters at the same place as in Ultralytics' guess_model_scale; a canary test holds the
# two together.
_SCALED = re.compile(r"(?P<head>.*?yolo(?:e-)?v?\d+)(?P<scale>[nslmx])(?P<tail>.*)")
_NUMBERED = re.compile(r".*?yolo(?:e-)?v?\d+")
_SUFFIXES = (".yaml", ".yml")
_EMA_ROW = re.compile(r"EMA, \[c2, \d+\]")


@dataclasses.dataclass(frozen=True)
class Definition:
    """Where a model's YAML lies and which of its scales is meant.

    Attributes:
        path: the YAML, absolute.
        scale: the scale's letter; empty where the file has no scales.
        stem: the file name, without suffix, that tells Ultralytics this scale.
        assumed: whether the name gave no scale, so that the file's first was taken.
        attention: what stands in the places of the file's EMA blocks; None for what the file says.
    """

    path: Path
    scale: str
    stem: str
    assumed: bool = False
    attention: Attention | None = None

    def text(self) -> str:
        """Return the model YAML, with the attention in EMA's places."""
        content = self.path.read_text(encoding="utf-8-sig")
        if self.attention is None:
            return content
        note = f"# {self.path.name} with {self.attention.title} in EMA's places.\n"
        return note + _EMA_ROW.sub(self.attention.row, content)


def shipped_models() -> dict[str, Path]:
    """Return this project's models: name without a scale's letter → YAML, in the order of families,
    plain before P2.
    """
    return {
        path.stem: path
        for path in sorted(models_dir().glob("*.yaml"), key=lambda path: _order(path.stem))
    }


def paper_models() -> dict[str, Path]:
    """Return the EMA paper's own detectors: name without a scale's letter → YAML."""
    return {path.stem: path for path in sorted((models_dir() / "paper").glob("*.yaml"))}


def _order(stem: str) -> tuple[int, str]:
    number = re.search(r"\d+", stem)
    return int(number.group()) if number else 0, stem


def scaled_names(stem: str, path: Path) -> tuple[str, ...]:
    """Return a model's bare names, one for each scale in its YAML: ``yolo11n-ema`` and so on for
    ``yolo11-ema``.
    """
    return tuple(_with_scale(stem, scale) for scale in _scales(path))


def model_names() -> tuple[str, ...]:
    """Return every bare name that `find_definition` takes, with and without a scale's letter."""
    paths = _known() | {stem: path for stem, (path, _) in _variants().items()}
    return tuple(name for stem, path in paths.items() for name in (stem, *scaled_names(stem, path)))


def _variants() -> dict[str, tuple[Path, Attention]]:
    """Return our models with other attention blocks: ``yolo11-cbam-p2`` for ``yolo11-ema-p2``."""
    return {
        stem.replace("-ema", f"-{name}", 1): (path, ATTENTIONS[name])
        for stem, path in (shipped_models() | paper_models()).items()
        for name in ATTENTIONS
        if name != "ema"
    }


def _known() -> dict[str, Path]:
    shipped = shipped_models() | paper_models()
    plain = {stem.replace("-ema", "") for stem in shipped}
    upstream = {
        path.stem: path
        for path in sorted((Path(ROOT) / "cfg" / "models").rglob("*.yaml"))
        if path.stem in plain
    }
    return shipped | upstream


def is_known(path: Path) -> bool:
    """Say whether a model YAML is one that came with this project or with Ultralytics."""
    return path in _known().values()


def find_definition(name: str | Path) -> Definition:
    """Find a model by bare name or by the path of its YAML.

    A path may carry a scale's letter that the file's own name lacks: ``my/yolo11s-wide.yaml`` finds
    ``my/yolo11-wide.yaml``. Where no letter is given, the first scale of the file is meant (n in
    ours), as in Ultralytics.

    Raises:
        ModelError: no such name (the message has the closest one), no such file, or no such scale
            in it.
    """
    path = with_home(name)
    if path.suffix.lower() == ".pt":
        raise ModelError(
            f"{name} is a weights file; a model is given by name, as in yolo11s-ema, or by the "
            f"path of its YAML"
        )
    is_yaml = path.suffix.lower() in _SUFFIXES
    if is_yaml and (file := _find_file(path)):
        return file
    if len(path.parts) > 1:
        names = [file.name for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        hint = (
            did_you_mean(path.name, names)
            if is_yaml
            else "; the path of a model YAML ends in .yaml"
        )
        raise ModelError(f"no model YAML at {path.absolute()}{hint}")
    stem = path.stem if is_yaml else str(name)
    if named := named_definition(stem):
        return named
    closest = (
        did_you_mean(stem.lower(), model_names())
        or f"; known are {', '.join(_known())}, with a scale's letter: yolo11s-ema"
    )
    raise ModelError(f"no model is named {stem!r}{closest}")


def _find_file(path: Path) -> Definition | None:
    if path.is_file():
        return _definition(path, path.stem)
    scaled = _SCALED.fullmatch(path.stem)
    family = path.with_name(f"{scaled['head']}{scaled['tail']}{path.suffix}") if scaled else path
    return _definition(family, path.stem) if family.is_file() else None


def named_definition(name: str) -> Definition | None:
    """Return the model of a bare name; None where there is none.

    Raises:
        ModelError: it has no such scale.
    """
    known, variants, scaled = _known(), _variants(), _SCALED.fullmatch(name)
    for stem in (name, scaled["head"] + scaled["tail"]) if scaled else (name,):
        if stem in known:
            return _definition(known[stem], name)
        if stem in variants:
            path, block = variants[stem]
            return dataclasses.replace(_definition(path, name), attention=block)
    return None


def _definition(path: Path, stem: str) -> Definition:
    scales, scaled = _scales(path), _SCALED.fullmatch(stem)
    if not scales:
        return Definition(path.absolute(), "", stem)
    if scaled:
        if scaled["scale"] not in scales:
            raise ModelError(f"{path} has no scale {scaled['scale']!r}; it has {', '.join(scales)}")
        return Definition(path.absolute(), scaled["scale"], stem)
    return Definition(path.absolute(), scales[0], _with_scale(stem, scales[0]), assumed=True)


def _with_scale(stem: str, scale: str) -> str:
    """Put the scale's letter behind ``yolo`` and its number; a name without those stays, and means
    the file's first scale.
    """
    numbered = _NUMBERED.match(stem)
    return f"{numbered.group()}{scale}{stem[numbered.end() :]}" if numbered else stem


def _scales(path: Path) -> tuple[str, ...]:
    return _scales_at(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)  # a file stands behind a dozen names
def _scales_at(path: Path, _changed_ns: int) -> tuple[str, ...]:
    try:
        content = read_yaml(path)
    except YamlFileError as error:
        raise ModelError(f"{path} {error}") from error
    scales = content.get("scales") if isinstance(content, dict) else None
    return tuple(map(str, scales)) if isinstance(scales, dict) else ()
