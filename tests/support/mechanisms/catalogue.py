"""The mechanisms of docs/mechanisms.md as data, and the example's manifests with one of them taken away. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonpatch
import msgspec
import yaml

from antei.client.manifests import Document
from antei.rehearse.scenario import Scenario, Step, builtin_scenarios

__all__ = ["CHAT_FILES", "DATABASE_FILES", "EXAMPLE", "Change", "Mechanism", "mechanisms", "objects_of", "scenario_of"]

EXAMPLE = Path(__file__).parents[3] / "examples" / "mattermost"
#: One database, in the namespace `default`, for all.
DATABASE_FILES = ("1-config.yaml", "2-mysql.yaml")
CHAT_FILES = ("1-config.yaml", "3-mattermost.yaml")
#: One of each host and path is enough, and none is used.
_LEFT_OUT = "Ingress"


class Change(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    kind: str
    op: str
    path: str  # the empty path is the whole object
    value: Any = None


class Expected(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Of the side without the mechanism; its verdict is always `missed`."""

    cause: str
    remedy: str  # a part of it
    lost: bool = False
    recovers: bool = True
    restarts: bool = False
    budget: str = ""


class Load(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    path: str = "/api/v4/system/ping"  # cheap, and without the database: what is measured is the way to the program
    rate: float = 25.0
    timeout: str = "5s"
    lead_in: str = ""
    lead_out: str = ""


class Mechanism(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    mechanism: str
    slug: str
    change: str
    scenario: str
    without: tuple[Change, ...]
    expect: Expected
    both: tuple[Change, ...] = ()
    within: Mapping[str, str] = {}
    load: Load = Load()
    settle: str = "0s"
    together: bool = True


def mechanisms() -> list[Mechanism]:
    text = (Path(__file__).parent / "mechanisms.yaml").read_text("utf-8")
    return msgspec.convert(yaml.safe_load(text), list[Mechanism])


def scenario_of(mechanism: Mechanism) -> Scenario:
    """The one that comes with antei, waiting no longer than the mechanism says."""
    [scenario] = [scenario for scenario in builtin_scenarios() if scenario.name == mechanism.scenario]

    def sooner(step: Step) -> Step:
        within = mechanism.within.get(step.wait or "")
        return msgspec.structs.replace(step, within=within) if within is not None else step

    return msgspec.structs.replace(
        scenario,
        steps=tuple(sooner(step) for step in scenario.steps),
        lead_in=mechanism.load.lead_in or scenario.lead_in,
        lead_out=mechanism.load.lead_out or scenario.lead_out,
    )


def objects_of(documents: Iterable[Document], namespace: str, changes: Sequence[Change]) -> list[Document]:
    """The chat of the example, in a namespace of its own, with these changes."""
    found = [Document({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, "the test", 1)]
    for document in documents:
        kind = document.data["kind"]
        if kind == _LEFT_OUT:
            continue
        data: Any = deepcopy(document.data)
        data["metadata"]["namespace"] = namespace
        if kind == "Deployment":
            _use_database_of_default(data)
        for change in changes:
            if change.kind == kind and data is not None:
                data = _changed(data, change)
        if data is not None:
            found.append(replace(document, data=data))
    return found


def _changed(data: Any, change: Change) -> Any:
    if change.op == "remove" and not change.path:
        return None
    return jsonpatch.apply_patch(data, [{"op": change.op, "path": change.path, "value": change.value}])


def _use_database_of_default(deployment: Any) -> None:
    """Its data sources name hosts of their own namespace."""
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for variable in container["env"]:
            value = variable.get("value", "")
            if "@tcp(" in value:
                variable["value"] = re.sub(r"@tcp\(([^:]*):", r"@tcp(\1.default:", value)
