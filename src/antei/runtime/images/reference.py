"""Names of images as Docker and Kubernetes read them: pure.

    nginx                             docker.io/library/nginx:latest
    grafana/grafana:11                docker.io/grafana/grafana:11
    registry.local:5000/a/b@sha256:…  that very manifest; a tag beside a digest says nothing

Docker: github.com/distribution/reference. Kubernetes: pkg/util/parsers/parsers.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from antei.runtime import ImageError

__all__ = ["Reference", "parse_reference"]

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
_NAME_LIMIT = 255
_DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """`digest` is "sha256:HEX" or empty; `tag` is never empty where there is no digest."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        return f"{self.domain}/{self.path}"

    def __str__(self) -> str:
        """The whole name; a digest leaves the tag out, which it overrides."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    def at(self, digest: str) -> Reference:
        return replace(self, tag="", digest=digest)


def parse_reference(image: str) -> Reference:
    """Raises ImageError (InvalidImageName) with Kubernetes' words."""
    name, _, digest = image.partition("@")
    if "@" in image and not _DIGEST.fullmatch(digest):
        raise _invalid(image, "invalid reference format")
    if digest and not _SHA256.fullmatch(digest):
        raise _invalid(image, "unsupported digest algorithm" if not digest.startswith("sha256:") else _LENGTH)
    if _IDENTIFIER.fullmatch(name):
        raise _invalid(
            image, f"invalid repository name ({name}), cannot specify 64-byte hexadecimal strings", is_whole=True
        )
    name, tag = _split_tag(name)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(image, "invalid reference format")
    domain, path = _split_domain(name)
    if path != path.lower():
        raise _invalid(image, "invalid reference format: repository name must be lowercase")
    if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path):
        raise _invalid(image, "invalid reference format")
    if len(path) > _NAME_LIMIT or len(domain) + 1 + len(path) > _NAME_LIMIT:
        raise _invalid(image, "repository name must not be more than 255 characters")
    return Reference(domain, path, tag or ("" if digest else "latest"), digest)


_LENGTH = "invalid checksum digest length"


def _split_tag(name: str) -> tuple[str, str | None]:
    """A colon after the last slash starts the tag; one before it belongs to a registry's port."""
    before, slash, last = name.rpartition("/")
    component, colon, tag = last.partition(":")
    return before + slash + component, tag if colon else None


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = slash and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    domain, path = (first, rest) if is_domain else (_DOCKER_HUB, name)
    if domain == "index.docker.io":
        domain = _DOCKER_HUB
    if domain == _DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return domain, path


def _invalid(image: str, problem: str, *, is_whole: bool = False) -> ImageError:
    said = problem if is_whole else f'couldn\'t parse image name "{image}": {problem}'
    return ImageError("InvalidImageName", f'Failed to apply default image tag "{image}": {said}')
