"""Writes `src/antei/api/protobuf/fields.json`: the number of every field of every Kubernetes message.

    python scripts/protobuf_fields.py .venv/bin/kubectl

The numbers are the `protobuf` tags of k8s.io/api's Go structs, and Go keeps such tags in the type descriptors of a
binary: they are read out of kubectl itself (an unpacked ELF file of a 64-bit little-endian machine), so that the
table is that of the very kubectl that is tested against. Run it when lightkube-models and kubectl move to another
version of Kubernetes.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightkube.models
import msgspec

TARGET = Path(__file__).resolve().parents[1] / "src/antei/api/protobuf/fields.json"
_KIND_POINTER, _KIND_STRUCT = 22, 25
_META = "k8s.io/apimachinery/pkg/apis/meta/"
_API = "k8s.io/api/"


@dataclass(frozen=True)
class GoField:
    json_name: str
    number: int
    is_pointer: bool
    is_embedded: bool
    type_name: str  # "*v1.VolumeSource"


class GoBinary:
    """The struct types in an ELF file that Go built (layouts: Go's internal/abi/type.go)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._sections = dict(self._read_sections())
        # Names of types are offsets from the start of the read-only data.
        self._base, self._rodata_at, self._rodata_size = self._sections[".rodata"]

    def structs(self) -> Iterator[tuple[str, list[GoField]]]:
        """("k8s.io/api/core/v1.Pod", its fields with a protobuf tag)."""
        for at in range(self._rodata_at, self._rodata_at + self._rodata_size - 96, 8):
            if self._data[at + 23] & 31 != _KIND_STRUCT:
                continue
            try:
                fields = self._fields(at)
                if fields and self._data[at + 20] & 1:  # has a package of its own
                    package, _, _ = self._name(self._base + struct.unpack_from("<i", self._data, at + 80)[0])
                    yield f"{package}.{self._type_name(at).rpartition('.')[2]}", fields
            except (ValueError, UnicodeDecodeError, IndexError, struct.error):
                continue  # bytes that only look like a type

    def _fields(self, at: int) -> list[GoField]:
        pointer, count, capacity = struct.unpack_from("<QQQ", self._data, at + 56)
        if not 0 < count < 80 or count != capacity:
            return []
        first = self._offset(pointer)
        found = []
        for index in range(count):
            name_at, type_address, _ = struct.unpack_from("<QQQ", self._data, first + 24 * index)
            _, tag, flags = self._name(name_at)
            numbered = re.search(r'protobuf:"\w+,(\d+),', tag)
            if numbered is None:
                continue
            named = re.search(r'json:"([^",]*)', tag)
            type_at = self._offset(type_address)
            found.append(
                GoField(
                    json_name=named[1] if named else "",
                    number=int(numbered[1]),
                    is_pointer=self._data[type_at + 23] & 31 == _KIND_POINTER,
                    is_embedded=bool(flags & 8),
                    type_name=self._type_name(type_at),
                )
            )
        return found

    def _type_name(self, at: int) -> str:
        return self._name(self._base + struct.unpack_from("<i", self._data, at + 40)[0])[0]

    def _name(self, address: int) -> tuple[str, str, int]:
        """(name, tag, flags)"""
        at = self._offset(address)
        flags = self._data[at]
        if flags > 15:
            raise ValueError("no name")
        name, at = self._string(at + 1)
        tag = self._string(at)[0] if flags & 2 else ""
        return name, tag, flags

    def _string(self, at: int) -> tuple[str, int]:
        size = shift = 0
        while True:
            byte = self._data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if size > 400:
            raise ValueError("no name")
        return self._data[at : at + size].decode(), at + size

    def _offset(self, address: int) -> int:
        for start, at, size in self._sections.values():
            if start and start <= address < start + size:
                return at + address - start
        raise ValueError("no address")

    def _read_sections(self) -> Iterator[tuple[str, tuple[int, int, int]]]:
        headers = struct.unpack_from("<Q", self._data, 0x28)[0]
        size, count, names = struct.unpack_from("<HHH", self._data, 0x3A)
        read = [struct.unpack_from("<IIQQQQ", self._data, headers + index * size) for index in range(count)]
        for name, _, _, address, at, length in read:
            start = read[names][4] + name
            yield self._data[start : self._data.index(b"\0", start)].decode(), (address, at, length)


def main() -> None:
    go = dict(GoBinary(Path(sys.argv[1]).resolve().read_bytes()).structs())
    found: dict[str, dict[str, str]] = {}
    for module in pkgutil.iter_modules(lightkube.models.__path__):
        for name, value in vars(importlib.import_module(f"lightkube.models.{module.name}")).items():
            if isinstance(value, type) and issubclass(value, msgspec.Struct) and not name.endswith("List"):
                _add(found, go, f"{_package(module.name)}.{name}")
    lines = [f"  {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    sys.stdout.write(f"{len(found)} messages\n")


def _add(found: dict[str, dict[str, str]], go: dict[str, list[GoField]], go_name: str) -> None:
    package, _, name = go_name.rpartition(".")
    key = f"{_module(package)}.{name}"
    if go_name not in go or key in found:
        return
    numbers = found[key] = {}
    for field in sorted(go[go_name], key=lambda field: field.number):
        if field.is_embedded and not field.json_name:
            version, _, inlined = field.type_name.lstrip("*").rpartition(".")
            where = f"{package.rpartition('/')[0]}/{version}"  # of the same group, perhaps in another version
            numbers[str(field.number)] = f"+{_module(where)}.{inlined}"
            _add(found, go, f"{where}.{inlined}")
        else:
            numbers[str(field.number)] = field.json_name + ("*" if field.is_pointer else "")


def _package(module: str) -> str:
    group, _, version = module.rpartition("_")
    return f"{_META}{version}" if group == "meta" else f"{_API}{group}/{version}"


def _module(package: str) -> str:
    if package.startswith(_META):
        return f"meta_{package.removeprefix(_META)}"
    return package.removeprefix(_API).replace("/", "_")


if __name__ == "__main__":
    main()
