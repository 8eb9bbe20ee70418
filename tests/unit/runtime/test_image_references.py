"""Names of images as Docker and Kubernetes read them."""

from __future__ import annotations

import pytest

from antei.runtime import ImageError
from antei.runtime.images.reference import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("grafana/grafana:11", "docker.io/grafana/grafana:11"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry.local/a/b/c:x", "registry.local/a/b/c:x"),
        ("127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        ("a__b/c-d.e", "docker.io/a__b/c-d.e:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"registry.local:5000/nginx:1.27@{DIGEST}", f"registry.local:5000/nginx@{DIGEST}"),
    ],
)
def test_defaults_are_docker_s(image: str, full: str) -> None:
    assert str(parse_reference(image)) == full
    assert str(parse_reference(full)) == full


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("", "invalid reference format"),
        (" nginx", "invalid reference format"),
        ("nginx:", "invalid reference format"),
        ("nginx:a b", "invalid reference format"),
        ("nginx:" + "t" * 129, "invalid reference format"),
        ("Nginx", "repository name must be lowercase"),
        ("a//b", "invalid reference format"),
        ("-a/b", "invalid reference format"),
        ("nginx@sha256:abc", "invalid reference format"),
        ("nginx@sha256:" + "a" * 40, "invalid checksum digest length"),
        ("nginx@md5:" + "a" * 32, "unsupported digest algorithm"),
        ("a" * 64, "cannot specify 64-byte hexadecimal strings"),
        ("a" * 256, "must not be more than 255 characters"),
        ("http://registry.local/a", "invalid reference format"),
        ("nginx\0", "invalid reference format"),
        ("../../etc/passwd", "invalid reference format"),
    ],
)
def test_what_is_no_name_is_refused_in_kubernetes_words(image: str, why: str) -> None:
    with pytest.raises(ImageError) as refused:
        parse_reference(image)
    assert refused.value.reason == "InvalidImageName"
    assert refused.value.message.startswith(f'Failed to apply default image tag "{image}": ')
    assert why in refused.value.message
