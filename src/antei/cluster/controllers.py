"""All controllers and the scheduler, as kube-controller-manager and kube-scheduler run them: in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.control.accounttokens import AccountTokenController, AccountTokens
from antei.control.admissionpolicy import ValidatingAdmissionPolicyController
from antei.control.certificates import CertificateController, CertificateSigner
from antei.control.clusterroleaggregation import ClusterRoleAggregationController
from antei.control.controller import Controller, WorkQueue
from antei.control.cronjob import CronJobController
from antei.control.customresources import CustomResourceCleanupController
from antei.control.daemonset import DaemonSetController
from antei.control.deployment import DeploymentController
from antei.control.disruption import DisruptionController
from antei.control.endpoints import EndpointsController
from antei.control.endpointslice import EndpointSliceController
from antei.control.ephemeralvolume import EphemeralVolumeController
from antei.control.garbagecollector import GarbageCollectorController
from antei.control.job import JobController, TtlAfterFinishedController
from antei.control.namespace import NamespaceController
from antei.control.nodelifecycle import NodeLifecycleController
from antei.control.persistentvolume import (
    Directories,
    PersistentVolumeController,
    VolumeProtectionController,
)
from antei.control.podgc import PodGarbageCollector
from antei.control.queue_measures import QueuesMeasures
from antei.control.replicaset import ReplicaSetController, ReplicationControllerController
from antei.control.resourcequota import ResourceQuotaController
from antei.control.scheduler import SchedulerController
from antei.control.serviceaccount import ServiceAccountController
from antei.control.statefulset import StatefulSetController
from antei.control.tainteviction import TaintEvictionController
from antei.world import World

__all__ = ["make_controllers"]


def make_controllers(
    client: Client,
    informers: Informers,
    recorder: EventRecorder,
    world: World,
    *,
    volumes_directory: Path,
    directories: Directories,
    root_ca: str,
    account_tokens: AccountTokens | None = None,
    signer: CertificateSigner | None = None,
    wanted: Callable[[str], bool] = lambda name: True,
    queues: QueuesMeasures | None = None,
) -> list[tuple[Controller, WorkQueue]]:
    """Every controller whose name is wanted with its queue, set up to run once the informers are synced.

    Without `account_tokens` Secrets for them stay empty, without `signer` certificates are not issued.
    """
    plain: Sequence[type[Any]] = (
        SchedulerController,
        DeploymentController,
        ReplicaSetController,
        ReplicationControllerController,
        StatefulSetController,
        DaemonSetController,
        JobController,
        TtlAfterFinishedController,
        CronJobController,
        EndpointSliceController,
        EndpointsController,
        DisruptionController,
        VolumeProtectionController,
        EphemeralVolumeController,
        GarbageCollectorController,
        NamespaceController,
        CustomResourceCleanupController,
        NodeLifecycleController,
        TaintEvictionController,
        PodGarbageCollector,
        ResourceQuotaController,
        ValidatingAdmissionPolicyController,
        ClusterRoleAggregationController,
    )
    controllers: list[Controller] = [kind(client, informers, recorder.named(kind.name), world) for kind in plain]
    of_volumes = recorder.named(PersistentVolumeController.name)
    controllers.append(PersistentVolumeController(client, informers, of_volumes, world, volumes_directory, directories))
    controllers.append(ServiceAccountController(client, informers, recorder, world, root_ca))
    controllers.append(CertificateController(client, informers, world, signer))
    if account_tokens is not None:
        controllers.append(AccountTokenController(client, informers, account_tokens, root_ca))
    made = []
    for controller in controllers:
        if not wanted(controller.name):
            continue
        queue = WorkQueue(queues.of(controller.name) if queues is not None else None)
        controller.setup(informers, queue)
        made.append((controller, queue))
    return made
