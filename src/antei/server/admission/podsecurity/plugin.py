"""The plug-in: pods are refused, what makes pods is warned of, namespaces must ask for something that exists.

Kubernetes: pod-security-admission/admission/admission.go.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Namespace, Pod

from antei import KUBERNETES_MINOR
from antei.api.errors import invalid
from antei.api.objects import meta
from antei.server.admission.podsecurity.baseline import BASELINE
from antei.server.admission.podsecurity.checks import Check, PodParts, Violation
from antei.server.admission.podsecurity.levels import LevelVersion, Policy, is_stricter, policy_of
from antei.server.admission.podsecurity.restricted import OVERRIDES, RESTRICTED
from antei.server.admission.request import Operation, Plugin, Request
from antei.server.caller import annotate, warn
from antei.store import Key, Store

__all__ = ["PodSecurity", "violations_of"]

_PREFIX = "pod-security.kubernetes.io/"
_TEMPLATES = frozenset(
    {
        "/podtemplates",
        "/replicationcontrollers",
        "apps/daemonsets",
        "apps/deployments",
        "apps/replicasets",
        "apps/statefulsets",
        "batch/cronjobs",
        "batch/jobs",
    }
)
_PODS = frozenset({"/pods", "/pods/ephemeralcontainers"})
_MOST_PODS_CHECKED = 3000
_NEWEST = int(KUBERNETES_MINOR.partition(".")[2])


def violations_of(wanted: LevelVersion, annotations: dict[str, str] | None, spec: PodSpec) -> list[Violation]:
    if wanted.level == "privileged":
        return []
    version = _NEWEST if wanted.version is None else min(wanted.version, _NEWEST)
    parts = PodParts(annotations or {}, spec, version)
    return [found for check in _checks(wanted.level, version) if (found := check.check(parts)) is not None]


def _checks(level: str, version: int) -> list[Check]:
    """Baseline's before restricted's; what restricted says more strictly is not said twice."""
    baseline = [check for check in BASELINE if check.first_version <= version]
    if level == "baseline":
        return baseline
    restricted = [check for check in RESTRICTED if check.first_version <= version]
    said = {OVERRIDES.get(check.name) for check in restricted}
    return [check for check in baseline if check.name not in said] + restricted


def _told(violations: list[Violation]) -> str:
    return ", ".join(str(violation) for violation in violations)


class PodSecurity(Plugin):
    handles: ClassVar = {
        Operation.CREATE: _PODS | _TEMPLATES | {"/namespaces"},
        Operation.UPDATE: _PODS | _TEMPLATES | {"/namespaces"},
    }

    def __init__(self, store: Store) -> None:
        self._store = store

    def validate(self, request: Request) -> None:
        bucket = request.resource.bucket
        if bucket == "/namespaces":
            self._validate_namespace(request)
            return
        stored = self._store.get(Key("/namespaces", "", request.namespace))
        labels = meta(stored.object).labels if stored is not None else None
        policy, _ = policy_of(labels)
        if policy.asks_for_nothing:
            return
        if bucket == "/pods":
            if request.operation is not Operation.UPDATE or _is_significant(request.object, request.old_object):
                self._evaluate(request, policy, meta(request.object).annotations, request.object.spec, is_pod=True)
            return
        template = _template_of(request.object)
        if template is not None and template.spec is not None:
            annotations = template.metadata.annotations if template.metadata is not None else None
            self._evaluate(request, policy, annotations, template.spec, is_pod=False)

    def _evaluate(
        self, request: Request, policy: Policy, annotations: dict[str, str] | None, spec: PodSpec, *, is_pod: bool
    ) -> None:
        if is_pod:
            annotate(f"{_PREFIX}enforce-policy", str(policy.enforce))
        audited = violations_of(policy.audit, annotations, spec)
        if audited:
            text = f'would violate PodSecurity "{policy.audit}": {_told(audited)}'
            annotate(f"{_PREFIX}audit-violations", text)
        if is_pod:
            enforced = violations_of(policy.enforce, annotations, spec)
            if enforced:
                raise request.forbidden(f'violates PodSecurity "{policy.enforce}": {_told(enforced)}')
        warned = violations_of(policy.warn, annotations, spec)
        if warned:
            warn(f'would violate PodSecurity "{policy.warn}": {_told(warned)}')

    def _validate_namespace(self, request: Request) -> None:
        namespace: Namespace = request.object
        policy, errors = policy_of(meta(namespace).labels)
        old, old_errors = policy_of(meta(request.old_object).labels) if request.old_object is not None else (None, [])
        if errors and errors != old_errors:
            raise invalid("Namespace", meta(namespace).name or "", errors)
        if old is None or policy.enforce == old.enforce or policy.enforce.level == "privileged":
            return
        is_relaxed = not is_stricter(policy.enforce.level, old.enforce.level)
        if policy.enforce.version == old.enforce.version and is_relaxed:
            return
        self._warn_of_pods(meta(namespace).name or "", policy.enforce)

    def _warn_of_pods(self, namespace: str, enforce: LevelVersion) -> None:
        pods = self._store.list("/pods", namespace).items
        checked = pods[:_MOST_PODS_CHECKED]
        found: dict[str, list[str]] = {}
        for stored in checked:
            violations = violations_of(enforce, meta(stored.object).annotations, stored.object.spec)
            if violations:
                reasons = ", ".join(violation.reason for violation in violations)
                found.setdefault(reasons, []).append(stored.key.name)
        if len(checked) < len(pods):
            warn(
                f"new PodSecurity enforce level only checked against the first {len(checked)} of {len(pods)} "
                "existing pods"
            )
        if found:
            warn(f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{enforce}"')
        for text in sorted(f"{_counted(sorted(names))}: {reasons}" for reasons, names in found.items()):
            warn(text)


def _counted(names: list[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{names[0]} (and {others} other {'pod' if others == 1 else 'pods'})"


def _is_significant(pod: Pod, old: Pod) -> bool:
    """Whether an update could change what the checks find: images, and containers that come later."""
    if pod.spec is None or old.spec is None:
        return True

    def seen(spec: PodSpec) -> list[tuple[str, str | None]]:
        containers = [*spec.containers, *(spec.initContainers or ()), *(spec.ephemeralContainers or ())]
        return [(container.name, container.image) for container in containers]

    def seccomp(of: Pod) -> dict[str, str]:
        annotations = meta(of).annotations or {}
        return {name: value for name, value in annotations.items() if "seccomp.security.alpha" in name}

    return seen(pod.spec) != seen(old.spec) or seccomp(pod) != seccomp(old)


def _template_of(obj: Any) -> Any:
    """The pod template of whatever has one."""
    if hasattr(obj, "template"):
        return obj.template
    spec = obj.spec
    if hasattr(spec, "jobTemplate"):
        spec = spec.jobTemplate.spec
    return spec.template if spec is not None else None
