"""Admission: what changes or refuses a request after it is known who makes it and what of, before it is stored.

A folder or module a plug-in; `chain` has their order.
"""

from __future__ import annotations

from antei.server.admission.chain import Admission
from antei.server.admission.lifecycle import SYSTEM_NAMESPACES
from antei.server.admission.pods import SYSTEM_PRIORITY_CLASSES
from antei.server.admission.request import Operation, Options, Request, write_options

__all__ = [
    "SYSTEM_NAMESPACES",
    "SYSTEM_PRIORITY_CLASSES",
    "Admission",
    "Operation",
    "Options",
    "Request",
    "write_options",
]
