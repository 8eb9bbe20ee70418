"""Real container images: names, pulling, loading, unpacking, and the store they are kept in."""

from antei.runtime.images.credentials import parse_docker_config
from antei.runtime.images.layers import Limits
from antei.runtime.images.registries import Registry
from antei.runtime.images.store import FoundImage, ImageStore, default_images_directory

__all__ = [
    "FoundImage",
    "ImageStore",
    "Limits",
    "Registry",
    "default_images_directory",
    "parse_docker_config",
]
