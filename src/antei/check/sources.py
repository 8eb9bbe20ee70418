"""Where manifests come from: files, directories, standard input, addresses. The rest of `check` is pure."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from antei.check.positions import Ignore, ignores_in, positions_of
from antei.check.workload import Item, item_of
from antei.client.manifests import ManifestError, manifest_files, parse_documents

__all__ = ["STDIN", "Source", "ignores_of", "items_of", "read_sources"]

STDIN = "<stdin>"
_MOST_BYTES = 16 << 20
_TIMEOUT_SECONDS = 30
_SUFFIXES = (".yaml", ".yml", ".json")
_TOOLS = {
    "Chart.yaml": "a Helm chart: helm template {0} | antei check -",
    "kustomization.yaml": "a kustomization: kubectl kustomize {0} | antei check -",
    "kustomization.yml": "a kustomization: kubectl kustomize {0} | antei check -",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A text and its name in messages; `path` where it is a file, which can be written. Lines end in a bare newline
    here, whatever they end in there."""

    name: str
    text: str
    path: Path | None = None
    newline: str = "\n"

    def write(self) -> None:
        """Raises OSError."""
        assert self.path is not None
        self.path.write_bytes(self.text.replace("\n", self.newline).encode())


def read_sources(
    names: Sequence[str], *, recursive: bool = False, read_stdin: Callable[[], str]
) -> tuple[list[Source], list[str]]:
    """All that can be read, and what cannot, with the reason. `-` is standard input."""
    sources: list[Source] = []
    problems: list[str] = []
    for name in names:
        try:
            if name == "-":
                sources.append(Source(STDIN, read_stdin()))
            elif name.startswith(("http://", "https://")):
                sources.append(Source(name, _fetched(name)))
            else:
                sources += _read_files(Path(name), recursive, problems)
        except (ManifestError, OSError, ValueError) as error:
            problems.append(_text(name, error))
    return sources, problems


def _text(name: str, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"{name}: not text in UTF-8 (byte {error.start})"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, urllib.error.URLError):
        return f"{name}: {error.strerror}"
    return str(error) if str(error).startswith(name) else f"{name}: {error}"


def _read_files(path: Path, recursive: bool, problems: list[str]) -> Iterable[Source]:
    for file in _files(path, recursive):
        try:
            text = file.read_bytes().decode("utf-8-sig")
            newline = "\r\n" if "\r\n" in text else "\n"
            yield Source(str(file), text.replace("\r\n", "\n"), file, newline)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(_text(str(file), error))


def _files(path: Path, recursive: bool) -> list[Path]:
    if not path.is_dir():
        return manifest_files([path])
    if (path / "Chart.yaml").exists():
        raise ManifestError(_nothing_in(path))
    below = {file.parent for file in path.rglob("*") if file.suffix in _SUFFIXES} if recursive else {path}
    directories = sorted(below)
    found: list[Path] = []
    for directory in directories:
        try:
            found += manifest_files([directory])
        except ManifestError:
            if not recursive:
                raise ManifestError(_nothing_in(path)) from None
    if not found:
        raise ManifestError(_nothing_in(path))
    return found


def _nothing_in(path: Path) -> str:
    for name, hint in _TOOLS.items():
        if (path / name).exists():
            return f"{path}: {hint.format(path)}"
    return f"{path}: no manifests here (*.yaml, *.yml, *.json); --recursive looks further down"


def _fetched(url: str) -> str:
    """Raises ManifestError with what the server or the network said."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            body: bytes = response.read(_MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise ManifestError(f"{url}: {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise ManifestError(f"{url}: {error.reason}") from error
    except TimeoutError as error:
        raise ManifestError(f"{url}: no answer within {_TIMEOUT_SECONDS} s") from error
    if len(body) > _MOST_BYTES:
        raise ManifestError(f"{url}: more than {_MOST_BYTES >> 20} MiB")
    return body.decode("utf-8")


def items_of(sources: Iterable[Source], namespace: str = "default") -> tuple[list[Item], list[str]]:
    """Their objects, and which texts cannot be parsed, where and why."""
    items: list[Item] = []
    problems: list[str] = []
    for source in sources:
        try:
            documents = parse_documents(source.text, source.name)
            positions = positions_of(source.text)
        except ManifestError as error:
            problems.append(str(error))
            continue
        items += [item_of(d, p, namespace=namespace) for d, p in zip(documents, positions, strict=True)]
    return items, problems


def ignores_of(sources: Iterable[Source]) -> dict[str, list[Ignore]]:
    return {source.name: ignores_in(source.text) for source in sources}
