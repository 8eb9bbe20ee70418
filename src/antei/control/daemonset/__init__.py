"""DaemonSet: one pod on every node that it fits."""

from antei.control.daemonset.controller import DaemonSetController

__all__ = ["DaemonSetController"]
