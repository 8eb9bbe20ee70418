"""What `kubectl get` shows of each kind: the columns and cells that Kubernetes' own server computes. Pure.

Source: pkg/printers/internalversion/printers.go. Columns of priority 1 are those of `-o wide`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from antei.api.printing.cells import Column, Printer, Row
from antei.api.printing.cluster import CLUSTER_PRINTERS
from antei.api.printing.custom import custom_columns, custom_row
from antei.api.printing.generic import GENERIC_PRINTER, GENERIC_PRINTERS
from antei.api.printing.network import NETWORK_PRINTERS
from antei.api.printing.pods import POD_PRINTERS
from antei.api.printing.storage import STORAGE_PRINTERS
from antei.api.printing.workloads import WORKLOAD_PRINTERS
from antei.api.resources import Resource

__all__ = ["Column", "Row", "columns", "row"]

_PRINTERS: Mapping[str, Printer] = {
    **POD_PRINTERS,
    **WORKLOAD_PRINTERS,
    **NETWORK_PRINTERS,
    **STORAGE_PRINTERS,
    **CLUSTER_PRINTERS,
    **GENERIC_PRINTERS,
}


def _printer(resource: Resource) -> Printer:
    return _PRINTERS.get(resource.bucket, GENERIC_PRINTER)


def columns(resource: Resource) -> Sequence[Column]:
    if resource.definition is not None:
        return custom_columns(resource.definition)
    return _printer(resource).columns


def row(resource: Resource, obj: Any, now: datetime) -> Row:
    """The cells of an object in its stored version, one a column; ages are those at `now`."""
    if resource.definition is not None:
        return custom_row(resource.definition, obj, now)
    return _printer(resource).row(obj, now)
