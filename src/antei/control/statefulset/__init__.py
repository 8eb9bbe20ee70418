"""StatefulSet: pods with names, order and storage of their own."""

from antei.control.statefulset.controller import StatefulSetController

__all__ = ["StatefulSetController"]
