"""The scheduler: filters say which nodes can take a pod, scores which of them should, a bind makes it so.

state.py ──snapshot──► filters.py ──feasible nodes──► scores.py ──node──► controller.py binds it
   ▲                        └── none: reasons ──► FailedScheduling, tried again when the cluster changes
   └── pods and nodes as they change, and pods that were assigned a moment ago
"""

from antei.control.scheduler.controller import SchedulerController

__all__ = ["SchedulerController"]
