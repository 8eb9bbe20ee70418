"""The pods that a Job makes. Pure.

Kubernetes: manageJob and indexed_job_utils.go in pkg/controller/job.
"""

from __future__ import annotations

from lightkube.models.core_v1 import Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodTemplateSpec
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of, replace
from antei.control.job.indexes import FAILURE_COUNT, IGNORED_FAILURE_COUNT, INDEX
from antei.control.job.plan import NewPod
from antei.control.job.state import FINALIZER, spec_of
from antei.control.pod_control import pod_from_template

__all__ = ["name_base", "new_pod"]

_ENV = "JOB_COMPLETION_INDEX"
_BASE_LENGTH = 58


def name_base(job: Job, wanted: NewPod) -> str:
    """`<job>-`, or `<job>-<index>-`, short enough for a suffix of five."""
    tail = "-" if wanted.index is None else f"-{wanted.index}-"
    return name_of(job)[: _BASE_LENGTH - len(tail)] + tail


def new_pod(job: Job, wanted: NewPod, name: str) -> Pod:
    template = spec_of(job).template
    if wanted.index is None:
        return pod_from_template(template, job, name, generate_name=name_base(job, wanted), finalizers=[FINALIZER])
    annotations = {INDEX: str(wanted.index)}
    if wanted.failures is not None:
        annotations[FAILURE_COUNT] = str(wanted.failures)
    if wanted.ignored_failures is not None:
        annotations[IGNORED_FAILURE_COUNT] = str(wanted.ignored_failures)
    return pod_from_template(
        _with_index(template, f"{name_of(job)}-{wanted.index}"),
        job,
        name,
        generate_name=name_base(job, wanted),
        labels={INDEX: str(wanted.index)},
        annotations=annotations,
        finalizers=[FINALIZER],
    )


def _with_index(template: PodTemplateSpec, hostname: str) -> PodTemplateSpec:
    spec = template.spec
    if spec is None:
        return template
    return replace(
        template,
        spec=replace(
            spec,
            hostname=hostname,
            containers=[_with_env(container) for container in spec.containers],
            initContainers=[_with_env(container) for container in spec.initContainers]
            if spec.initContainers is not None
            else None,
        ),
    )


def _with_env(container: Container) -> Container:
    if any(variable.name == _ENV for variable in container.env or ()):
        return container
    variable = EnvVar(
        name=_ENV,
        valueFrom=EnvVarSource(fieldRef=ObjectFieldSelector(apiVersion="v1", fieldPath=f"metadata.labels['{INDEX}']")),
    )
    return replace(container, env=[*(container.env or ()), variable])
