"""Containers that follow a profile in virtual time: no process, no file, no thread.

`SimulatedRuntime` is a real driver with knobs: it passes the conformance suite of the others and lets a test
crash, hang or change a running container. It answers probes too (`world.sockets.ProbeTransport`), because a
simulated container's ports exist nowhere else.
"""

from antei.runtime.simulated.driver import ProfileOf, SimulatedRuntime
from antei.runtime.simulated.happenings import Happening, Reach
from antei.runtime.simulated.node import SimulatedNode
from antei.runtime.simulated.pod_network import SimulatedPodNetwork
from antei.runtime.simulated.profile import (
    ContainerProfile,
    ExecAnswer,
    Failure,
    HttpAnswer,
    ScheduledExit,
)

__all__ = [
    "ContainerProfile",
    "ExecAnswer",
    "Failure",
    "Happening",
    "HttpAnswer",
    "ProfileOf",
    "Reach",
    "ScheduledExit",
    "SimulatedNode",
    "SimulatedPodNetwork",
    "SimulatedRuntime",
]
