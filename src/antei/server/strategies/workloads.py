"""Kinds whose strategies differ in little: Deployments, Jobs, ReplicationControllers, Events, Nodes and some more.

Kubernetes: pkg/registry/{apps/deployment,batch/job,core/replicationcontroller,core/event,core/node}/strategy.go;
pkg/apis/core/v1/conversion.go (Secrets).
"""

from __future__ import annotations

from base64 import b64encode

from lightkube.models.meta_v1 import LabelSelector
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.batch_v1 import Job
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Event, Node, Secret

from antei.api.objects import meta, replace, replace_meta, to_micro_time
from antei.server.strategies.generic import Context, Strategy

__all__ = [
    "CronJobStrategy",
    "DeploymentStrategy",
    "EventStrategy",
    "JobStrategy",
    "LeaseStrategy",
    "NodeStrategy",
    "ReplicationControllerStrategy",
    "SecretStrategy",
]

_CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
_JOB_NAME = "batch.kubernetes.io/job-name"
#: The same two, as they were called before Kubernetes 1.27.
_CONTROLLER_UID_OLD = "controller-uid"
_JOB_NAME_OLD = "job-name"


class DeploymentStrategy(Strategy):
    has_generation = True

    def spec_changed(self, new: Deployment, old: Deployment) -> bool:
        """A change of the annotations counts, too."""
        return super().spec_changed(new, old) or (meta(new).annotations or {}) != (meta(old).annotations or {})

    def prepare_status(self, new: Deployment, old: Deployment, context: Context) -> Deployment:
        changed: Deployment = super().prepare_status(new, old, context)
        return replace_meta(changed, labels=meta(old).labels)


class ReplicationControllerStrategy(Strategy):
    has_generation = True
    default_propagation = "Orphan"


class EventStrategy(Strategy):
    default_propagation = "Unsupported"

    def normalise(self, obj: Event) -> Event:
        """client-go reads no time without a fraction."""
        series = obj.series
        if series is not None and series.lastObservedTime is not None:
            series = replace(series, lastObservedTime=to_micro_time(series.lastObservedTime))
        return replace(obj, eventTime=obj.eventTime and to_micro_time(obj.eventTime), series=series)


class LeaseStrategy(Strategy):
    def normalise(self, obj: Lease) -> Lease:
        """client-go reads no time without a fraction."""
        spec = obj.spec
        if spec is None:
            return obj
        renewed, acquired = spec.renewTime, spec.acquireTime
        times = {"renewTime": renewed and to_micro_time(renewed), "acquireTime": acquired and to_micro_time(acquired)}
        return replace(obj, spec=replace(spec, **times))


class NodeStrategy(Strategy):
    def prepare_create(self, obj: Node, context: Context) -> Node:
        """A node registers with its status."""
        return obj


class SecretStrategy(Strategy):
    def normalise(self, obj: Secret) -> Secret:
        """`stringData` is written, never read."""
        if not obj.stringData:
            return obj
        encoded = {name: b64encode(str(text).encode()).decode() for name, text in obj.stringData.items()}
        return replace(obj, data={**(obj.data or {}), **encoded}, stringData=None)


class CronJobStrategy(Strategy):
    has_generation = True


class JobStrategy(Strategy):
    has_generation = True
    default_propagation = "Orphan"

    def prepare_create(self, obj: Job, context: Context) -> Job:
        obj = super().prepare_create(obj, context)
        spec = obj.spec
        if spec is None or spec.manualSelector or spec.template is None:
            return obj
        uid, name = meta(obj).uid or "", meta(obj).name or ""
        identity = {_CONTROLLER_UID: uid, _JOB_NAME: name, _CONTROLLER_UID_OLD: uid, _JOB_NAME_OLD: name}
        labels = (spec.template.metadata.labels if spec.template.metadata else None) or {}
        template = replace_meta(spec.template, labels={**labels, **identity})
        selector = spec.selector or LabelSelector()
        if _CONTROLLER_UID not in (selector.matchLabels or {}):
            selector = replace(selector, matchLabels={**(selector.matchLabels or {}), _CONTROLLER_UID: uid})
        return replace(obj, spec=replace(spec, template=template, selector=selector))
