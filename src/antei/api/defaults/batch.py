"""Defaults of Jobs and CronJobs (Kubernetes: pkg/apis/batch/v1/defaults.go)."""

from __future__ import annotations

from lightkube.models.batch_v1 import CronJobSpec, JobSpec, JobTemplateSpec, PodFailurePolicy
from lightkube.resources.batch_v1 import CronJob, Job

from antei.api.defaults import pod
from antei.api.defaults.fill import change, each, fill, inside
from antei.api.objects import replace_meta

__all__ = ["cron_job", "job"]

_BACKOFF_LIMIT = 6
_UNLIMITED = 2**31 - 1


def job(obj: Job) -> Job:
    spec = obj.spec
    if spec is None:
        return obj
    template_labels = spec.template.metadata.labels if spec.template.metadata else None
    if template_labels and (obj.metadata is None or not obj.metadata.labels):
        obj = replace_meta(obj, labels=dict(template_labels))
    return change(obj, spec=_job_spec(spec))


def _job_spec(spec: JobSpec) -> JobSpec:
    if spec.completions is None and spec.parallelism is None:
        spec = change(spec, completions=1)
    spec = fill(
        spec,
        parallelism=1,
        backoffLimit=_BACKOFF_LIMIT if spec.backoffLimitPerIndex is None else _UNLIMITED,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
        podReplacementPolicy="TerminatingOrFailed" if spec.podFailurePolicy is None else "Failed",
    )
    return inside(spec, template=pod.template, podFailurePolicy=_failure_policy)


def _failure_policy(policy: PodFailurePolicy) -> PodFailurePolicy:
    def rule(one: object) -> object:
        return inside(one, onPodConditions=each(lambda pattern: fill(pattern, status="True")))

    return inside(policy, rules=each(rule))


def cron_job(obj: CronJob) -> CronJob:
    return inside(obj, spec=_cron_job_spec)


def _cron_job_spec(spec: CronJobSpec) -> CronJobSpec:
    spec = fill(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    return inside(spec, jobTemplate=_job_template)


def _job_template(template: JobTemplateSpec) -> JobTemplateSpec:
    """The Jobs that come of it get a Job's own defaults when they are created; here only the pods are completed."""
    return inside(template, spec=lambda spec: inside(spec, template=pod.template, podFailurePolicy=_failure_policy))
