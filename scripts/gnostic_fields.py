"""Writes `src/antei/server/http/openapi/gnostic.json`: the fields of the protobuf messages that OpenAPI documents are.

    python scripts/gnostic_fields.py .venv/bin/kubectl

Like `protobuf_fields.py`, it reads them out of kubectl, whose Go types carry the numbers as struct tags. A field is
`[number, type]`, `[]` before the type for one that is repeated; names that begin with `?` are the choices of a oneof.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from protobuf_fields import GoBinary

TARGET = Path(__file__).resolve().parents[1] / "src/antei/server/http/openapi/gnostic.json"
_PACKAGE = "github.com/google/gnostic-models/openapi"


def main() -> None:
    found: dict[str, dict[str, dict[str, list[int | str]]]] = {"v2": {}, "v3": {}}
    for name, fields in GoBinary(Path(sys.argv[1]).resolve().read_bytes()).structs():
        if not name.startswith(_PACKAGE):
            continue
        version, _, message = name.removeprefix(_PACKAGE).partition(".")
        messages = found[version]
        parent, _, choice = message.partition("_")
        for field in fields:
            kind = field.type_name.removeprefix("*")
            repeated = "[]" if kind.startswith("[]") else ""
            kind = repeated + kind.removeprefix("[]").lstrip("*").rpartition(".")[2]
            where, key = (parent, f"?{choice}") if choice else (message, field.json_name)
            messages.setdefault(where, {})[key] = [field.number, kind]
    lines = []
    for version, messages in found.items():
        rows = [f"    {json.dumps(name)}: {json.dumps(messages[name])}" for name in sorted(messages)]
        lines.append(f"  {json.dumps(version)}: {{\n" + ",\n".join(rows) + "\n  }")
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    sys.stdout.write(f"{sum(map(len, found.values()))} messages\n")


if __name__ == "__main__":
    main()
