"""Makes the attention blocks known to Ultralytics, and turns a model's name into a YAML and into a
model.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from yolo_ema.engine.models.blocks import has_user_blocks
from yolo_ema.engine.models.blueprint import checked_definition, draw, probe, read_definition
from yolo_ema.engine.models.definition import Definition, find_definition, is_known
from yolo_ema.engine.setup.child_processes import teach_child_processes
from yolo_ema.errors import ConfigError, DiskFullError, MachineError
from yolo_ema.io.atomic_files import write_bytes
from yolo_ema.io.machine import cache_dir
from yolo_ema.nn import BLOCKS

__all__ = ["build_model", "model_yaml", "register"]

_LOG = logging.getLogger(__name__)


def register(*, child_processes: bool = False) -> None:
    """Make the block ``EMA`` and its rivals known to Ultralytics: to its YAML parser, and to its
    loading of weights with an allow-list.

    This is all that Ultralytics needs; calling it again changes nothing.

    Args:
        child_processes: let Python processes that this one starts know it, too; those of
            ``model.tune()`` and of a training on several GPUs may not. Sets PYTHONPATH.

    Raises:
        ConfigError: something else is already registered under one of their names.

    Examples:
        >>> import yolo_ema
        >>> yolo_ema.register()  # now Ultralytics knows EMA in any model YAML
    """
    # parse_model looks blocks up among its module's globals; there is no hook
    for name, block in BLOCKS.items():
        current = vars(tasks).setdefault(name, block)
        if current is not block:
            raise ConfigError(
                f"ultralytics.nn.tasks.{name} is already {current!r}; yolo-ema needs that name for "
                f"{block.__name__}: remove the other registration"
            )
    torch.serialization.add_safe_globals([*BLOCKS.values()])
    if child_processes:
        teach_child_processes()


def model_yaml(name: str | Path) -> Path:
    """Return the path of a YAML from which plain Ultralytics builds the model:
    ``YOLO(yolo_ema.model_yaml("yolo11s-ema"))``.

    Ultralytics reads the scale from the file's name, and looks for a file without the letter by a
    pattern over the whole path, which folders with digits in their names upset. So the returned
    file exists under the very name that carries the scale; where the original doesn't, it is a copy
    in the cache folder. Registers the block, too.

    Args:
        name: a bare name, as in ``yolo11s-ema``, ``yolo26m-ema-p2`` or plain ``yolo11s``, or the
            path of a model YAML. Without a scale's letter the first scale of the file is taken (n
            in ours), with a note.

    Raises:
        ModelError: no such model, scale or file, or a wrong row in the YAML.
        MachineError: the cache folder can't be written.

    Examples:
        >>> import yolo_ema
        >>> from ultralytics import YOLO
        >>> model = YOLO(yolo_ema.model_yaml("yolo11n-ema"))
    """
    register()
    definition = find_definition(name)
    if definition.assumed:
        _LOG.warning(
            "%s names no scale; taking the first of its YAML: %s (%s)",
            name,
            definition.scale,
            definition.stem,
        )
    _check(definition)
    if definition.path.stem == definition.stem:
        return definition.path
    content = definition.text().encode()
    copy = (
        cache_dir().absolute()
        / "models"
        / hashlib.sha256(content).hexdigest()[:16]
        / f"{definition.stem}.yaml"
    )
    if not copy.is_file() or copy.read_bytes() != content:
        try:
            write_bytes(copy, content)
        except DiskFullError:
            raise
        except OSError as error:
            raise MachineError(
                f"{copy} can't be written: {error}; name another cache folder in YOLO_EMA_CACHE"
            ) from error
    return copy


def _check(definition: Definition) -> None:
    """Check a user's model YAML row by row, then its layers with one image, without memory for
    either. Those that come with this project and with Ultralytics fit together, and blocks of the
    user's own program may not work without memory.
    """
    content, places = read_definition(definition.path)
    where = str(definition.path)
    content |= {"scale": definition.scale}
    checked = checked_definition(content, where, places, user_blocks=True)
    if not is_known(definition.path) and not has_user_blocks(checked):
        layers, _ = draw(checked, where, places)
        probe(layers, where, places, channels=checked["channels"])


def build_model(name: str | Path, class_count: int = 10) -> DetectionModel:
    """Build a detection model with random weights.

    Args:
        name: as in `model_yaml`.
        class_count: number of classes, at least 1.

    Raises:
        ModelError: as in `model_yaml`, or Ultralytics cannot build what the YAML says.
        ConfigError: ``class_count`` is below 1.
    """
    if class_count < 1:
        raise ConfigError(f"a model needs at least one class; found class_count={class_count}")
    path = model_yaml(name)
    # As a dictionary with the wished number of classes, so that Ultralytics has nothing to report
    # on stdout.
    definition = yaml_model_load(path) | {"nc": class_count}
    return DetectionModel(definition, ch=3, nc=class_count, verbose=False)
