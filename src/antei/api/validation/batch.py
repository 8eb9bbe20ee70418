"""Jobs and CronJobs (Kubernetes: pkg/apis/batch/validation/validation.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.batch_v1 import JobSpec, PodFailurePolicy
from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.resources.batch_v1 import CronJob, Job

from antei.api import cron
from antei.api.errors import FieldError
from antei.api.objects import meta, replace
from antei.api.selectors import selector_of
from antei.api.validation import pod
from antei.api.validation.fields import immutable, invalid, non_negative, not_supported, one_of, required
from antei.api.validation.metadata import label_selector

__all__ = ["cron_job", "cron_job_update", "job", "job_update"]

_CRON_JOB_NAME_LIMIT = 52
_INDEXED_PARALLELISM_LIMIT = 100_000
_GENERATED_LABELS = {
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "job-name",
    "batch.kubernetes.io/job-name",
}


def job(obj: Job) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return [required("spec.template.spec.containers")]
    errors = _generated_selector("spec.selector", spec)
    errors += _job_spec("spec", spec)
    errors += label_selector("spec.selector", spec.selector)
    if spec.selector is not None and not errors:
        labels = (spec.template.metadata.labels if spec.template.metadata else None) or {}
        if not selector_of(spec.selector).matches(labels):
            detail = "`selector` does not match template `labels`"
            errors.append(invalid("spec.template.metadata.labels", labels, detail))
    return errors


def _generated_selector(path: str, spec: JobSpec) -> list[FieldError]:
    """Unless manualSelector is set, the selector is the registry's to generate, from the Job's uid."""
    if spec.manualSelector:
        return [] if spec.selector is not None else [required(path)]
    if spec.selector is None:
        return []
    has_own = spec.selector.matchExpressions or set(spec.selector.matchLabels or {}) - _GENERATED_LABELS
    if spec.selector.matchLabels and not has_own:
        return []
    return [invalid(path, spec.selector, "`selector` not auto-generated")]


def _job_spec(path: str, spec: JobSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    counts = ("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")
    for name in (*counts, "backoffLimitPerIndex", "maxFailedIndexes"):
        errors += non_negative(f"{path}.{name}", getattr(spec, name))
    errors += _completion_mode(path, spec)
    if spec.podFailurePolicy is not None:
        errors += _failure_policy(f"{path}.podFailurePolicy", spec.podFailurePolicy)
    if spec.podReplacementPolicy not in (None, "TerminatingOrFailed", "Failed"):
        supported = ("Failed", "TerminatingOrFailed")
        errors.append(not_supported(f"{path}.podReplacementPolicy", spec.podReplacementPolicy, supported))
    errors += pod.template(f"{path}.template", spec.template)
    restart_policy = spec.template.spec.restartPolicy if spec.template.spec else None
    place = f"{path}.template.spec.restartPolicy"
    if restart_policy in (None, "", "Always"):
        errors.append(required(place, 'valid values: "OnFailure", "Never"'))
    elif restart_policy not in ("OnFailure", "Never"):
        errors.append(not_supported(place, restart_policy, ("OnFailure", "Never")))
    elif spec.podFailurePolicy is not None and restart_policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        errors.append(invalid(place, restart_policy, detail))
    return errors


def _completion_mode(path: str, spec: JobSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    mode = spec.completionMode
    if mode not in (None, "NonIndexed", "Indexed"):
        errors.append(not_supported(f"{path}.completionMode", mode, ("Indexed", "NonIndexed")))
    if mode == "Indexed":
        if spec.completions is None:
            errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
        if (spec.parallelism or 0) > _INDEXED_PARALLELISM_LIMIT:
            detail = f"must be less than or equal to {_INDEXED_PARALLELISM_LIMIT} when completion mode is Indexed"
            errors.append(invalid(f"{path}.parallelism", spec.parallelism, detail))
    elif spec.backoffLimitPerIndex is not None:
        detail = "requires indexed completion mode"
        errors.append(invalid(f"{path}.backoffLimitPerIndex", spec.backoffLimitPerIndex, detail))
    if spec.maxFailedIndexes is not None and spec.backoffLimitPerIndex is None:
        detail = "when maxFailedIndexes is specified"
        errors.append(required(f"{path}.backoffLimitPerIndex", detail))
    return errors


def _failure_policy(path: str, policy: PodFailurePolicy) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(policy.rules or ()):
        place = f"{path}.rules[{index}]"
        errors += one_of(f"{place}.action", rule.action, ("Count", "FailIndex", "FailJob", "Ignore"))
        has_codes, has_conditions = rule.onExitCodes is not None, bool(rule.onPodConditions)
        if has_codes and has_conditions:
            detail = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(invalid(place, "<redacted>", detail))
        elif not has_codes and not has_conditions:
            detail = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(invalid(place, "<redacted>", detail))
        if rule.onExitCodes is not None:
            errors += _exit_codes(f"{place}.onExitCodes", rule.onExitCodes)
        for position, pattern in enumerate(rule.onPodConditions or ()):
            condition = f"{place}.onPodConditions[{position}]"
            if pattern.status not in ("True", "False", "Unknown"):
                errors += one_of(f"{condition}.status", pattern.status, ("False", "True", "Unknown"))
            if not pattern.type:
                errors.append(required(f"{condition}.type"))
    return errors


def _exit_codes(path: str, codes: Any) -> list[FieldError]:
    errors = one_of(f"{path}.operator", codes.operator, ("In", "NotIn"))
    if not codes.values:
        return [*errors, invalid(f"{path}.values", codes.values, "at least one value is required")]
    if codes.operator == "In" and 0 in codes.values:
        place = f"{path}.values[{codes.values.index(0)}]"
        errors.append(invalid(place, 0, "must not be 0 for the In operator"))
    if list(codes.values) != sorted(codes.values):
        errors.append(invalid(f"{path}.values", codes.values, "must be ordered"))
    return errors


def job_update(new: Job, old: Job) -> list[FieldError]:
    errors = job(new)
    after, before = new.spec, old.spec
    if after is None or before is None:
        return errors
    is_elastic = after.completionMode == "Indexed" and after.completions == after.parallelism
    if not is_elastic:
        errors += immutable("spec.completions", after.completions, before.completions)
    errors += immutable("spec.selector", after.selector, before.selector)
    errors += immutable("spec.template", _comparable_template(after.template, old), before.template)
    for name in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        errors += immutable(f"spec.{name}", getattr(after, name), getattr(before, name))
    return errors


def _comparable_template(new: PodTemplateSpec, old: Job) -> PodTemplateSpec:
    """The new template with what a suspended Job may have changed taken back: where its pods go."""
    before = old.spec.template if old.spec else None
    is_suspended = old.spec is not None and bool(old.spec.suspend)
    has_started = old.status is not None and old.status.startTime is not None
    if before is None or before.spec is None or new.spec is None or not is_suspended or has_started:
        return new
    kept = {name: getattr(before.spec, name) for name in ("nodeSelector", "affinity", "tolerations", "schedulingGates")}
    return replace(new, metadata=before.metadata, spec=replace(new.spec, **kept))


def cron_job(obj: CronJob) -> list[FieldError]:
    errors = _cron_job_spec(obj)
    name = meta(obj).name or ""
    if len(name) > _CRON_JOB_NAME_LIMIT:
        errors.append(invalid("metadata.name", name, f"must be no more than {_CRON_JOB_NAME_LIMIT} characters"))
    return errors


def _cron_job_spec(obj: CronJob) -> list[FieldError]:
    spec = obj.spec
    errors: list[FieldError] = []
    if not spec.schedule:
        errors.append(required("spec.schedule"))
    elif "TZ" in spec.schedule:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(invalid("spec.schedule", spec.schedule, detail))
    else:
        problem = cron.schedule_error(spec.schedule)
        if problem is not None:
            errors.append(invalid("spec.schedule", spec.schedule, problem))
    errors += non_negative("spec.startingDeadlineSeconds", spec.startingDeadlineSeconds)
    if spec.timeZone is not None:
        problem = cron.time_zone_error(spec.timeZone)
        if problem is not None:
            errors.append(invalid("spec.timeZone", spec.timeZone, problem))
    errors += one_of("spec.concurrencyPolicy", spec.concurrencyPolicy, ("Allow", "Forbid", "Replace"))
    job_spec = spec.jobTemplate.spec
    if job_spec is None:
        errors.append(required("spec.jobTemplate.spec.template.spec.containers"))
    else:
        errors += _job_spec("spec.jobTemplate.spec", job_spec)
        if job_spec.selector is not None:
            detail = "`selector` will be auto-generated"
            errors.append(invalid("spec.jobTemplate.spec.selector", job_spec.selector, detail))
        if job_spec.manualSelector:
            errors.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        errors += non_negative(f"spec.{name}", getattr(spec, name))
    return errors


def cron_job_update(new: CronJob, old: CronJob) -> list[FieldError]:
    """The length of its name is not looked at again: it cannot be helped any more."""
    del old
    return _cron_job_spec(new)
