"""Hashes of pod templates and revisions, in the alphabet that Kubernetes writes them in.

The values differ from those of a Go controller, which hashes a dump of its own structs; nothing may rely on them
but this: one template, one hash (Kubernetes: ComputeHash in pkg/controller/controller_utils.go).
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["canonical_json", "fnv32a", "hash_of", "safe_encode"]

# k8s.io/apimachinery/pkg/util/rand: no vowels, no characters that look like others.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def canonical_json(value: Any) -> bytes:
    """One value, one text: keys sorted, absent fields absent."""
    return msgspec.json.encode(value, order="sorted")


def fnv32a(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def safe_encode(text: str) -> str:
    """Kubernetes: rand.SafeEncodeString; the result spells no words."""
    return "".join(_ALPHABET[ord(character) % len(_ALPHABET)] for character in text)


def hash_of(value: Any, collision_count: int | None = None) -> str:
    data = canonical_json(value)
    if collision_count is not None:
        data += collision_count.to_bytes(8, "little", signed=True)
    return safe_encode(str(fnv32a(data)))
