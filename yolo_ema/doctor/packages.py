"""What is installed, and what is missing for which feature: read from the packages' metadata,
without importing any.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from yolo_ema._version import __version__
from yolo_ema.doctor.row import Row

_NAME = "yolo-ema"

_PACKAGES = (
    ("torch",),
    ("torchvision",),
    ("ultralytics",),
    ("numpy",),
    ("opencv-python", "opencv-python-headless", "opencv-contrib-python"),
    ("av",),
    ("pillow",),
    ("simplejpeg",),
    ("lap",),
    ("albumentations",),
    ("onnx",),
    ("onnxruntime", "onnxruntime-gpu"),
    ("openvino",),
    ("ncnn",),
    ("nncf",),
    ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    ("timm",),
    ("pyproj",),
    ("rasterio",),
    ("pymavlink",),
    ("ray",),
    ("pyarrow",),
    ("fsspec",),
)
"""Packages whose versions matter, each with the other names that bring the same."""

_BRINGS = {
    "": "training, .pt weights, validation",
    "onnx": "detect with and export to ONNX",
    "openvino": "detect with and export to OpenVINO",
    "ncnn": "detect with and export to ncnn",
    "attention": "other attention blocks, for comparison",
    "geo": "exact map projections, terrain in files",
    "mavlink": "telemetry of MAVLink, from logs and live",
    "int8": "int8 files",
    "classify": "weights that classify, for comparison",
    "deploy": "every runtime for CPUs",
    "parquet": "Parquet files, archive",
    "cloud": "archives in object stores",
    "ray": "archives and training on Ray",
}
_FOR_DEVELOPERS = {"dev", "docs"}
_INSTALL_AGAIN = "pip install -e . again: what the package asks for has changed since"


def versions() -> list[Row]:
    """Return a row for each package, None for one that is not installed."""
    return [
        Row(_NAME, __version__),
        Row("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Row("system", f"{platform.system()} {platform.release()}, {_distribution()}"),
        *(_installed(names) for names in _PACKAGES),
    ]


def _installed(names: tuple[str, ...]) -> Row:
    for name in names:
        if (version := _version(name)) is not None:
            return Row(name, version)
    return Row(names[0])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _distribution() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    libc = " ".join(platform.libc_ver())
    return f"{name or sys.platform}, {platform.machine()}, {libc}".rstrip(", ")


def features() -> list[Row]:
    """Return a row for each extra of this package: whether all it asks for is installed, and the
    command that brings what is not.

    Raises:
        PackageNotFoundError: this package is not installed, but run from its source.
    """
    by_extra = _requirements()
    rows = [
        _feature(extra, sorted(set(_all_of(extra, by_extra))))
        for extra in by_extra
        if extra not in _FOR_DEVELOPERS
    ]
    unknown = [extra for extra in _BRINGS if extra not in by_extra]
    return rows + [
        Row(f"[{extra}]", _BRINGS[extra], "the installed version does not know it", _INSTALL_AGAIN)
        for extra in unknown
    ]


def _requirements() -> dict[str, list[str]]:
    """Return the requirements of each extra, as text; of "", those of the package itself."""
    from packaging.requirements import Requirement

    by_extra: dict[str, list[str]] = {"": []}
    for line in requires(_NAME) or ():
        req = Requirement(line)
        marker = str(req.marker or "")
        extra = marker.partition("extra ==")[2].strip().split(" ")[0].strip("'\"")
        plain = f"{req.name}[{','.join(sorted(req.extras))}]" if req.extras else req.name
        by_extra.setdefault(extra, []).append(f"{plain}{req.specifier}")
    return by_extra


def _all_of(extra: str, by_extra: dict[str, list[str]]) -> Iterator[str]:
    """Yield an extra's requirements, and those of the extras that it takes in."""
    from packaging.requirements import Requirement

    for line in by_extra.get(extra, ()):
        req = Requirement(line)
        if req.name == _NAME:
            for other in req.extras:
                yield from _all_of(other, by_extra)
        else:
            yield line


def _feature(extra: str, requirements: list[str]) -> Row:
    from packaging.requirements import Requirement

    missing = []
    for line in requirements:
        req = Requirement(line)
        have = _version(req.name) or _version_of_stand_in(req.name)
        if have is None:
            missing.append(req.name)
        elif not req.specifier.contains(have, prereleases=True):
            missing.append(f"{req.name}{req.specifier} (here: {have})")
    name, brings = f"[{extra}]" if extra else _NAME, _BRINGS.get(extra, "")
    if not missing:
        return Row(name, f"{brings}: installed" if brings else "installed")
    command = f'pip install "{_NAME}{name if extra else ""}"'
    return Row(name, brings, f"missing: {', '.join(missing)}", command)


def _version_of_stand_in(name: str) -> str | None:
    others = next((names for names in _PACKAGES if name in names), ())
    return next((version for other in others if (version := _version(other)) is not None), None)
