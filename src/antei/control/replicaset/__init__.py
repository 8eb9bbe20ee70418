"""ReplicaSet and ReplicationController: so many pods of one template, no more, no fewer."""

from antei.control.replicaset.controller import ReplicaSetController, ReplicationControllerController

__all__ = ["ReplicaSetController", "ReplicationControllerController"]
