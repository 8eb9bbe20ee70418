"""Defaults of HorizontalPodAutoscalers (Kubernetes: pkg/apis/autoscaling/v2/defaults.go)."""

from __future__ import annotations

from lightkube.models.autoscaling_v2 import (
    HorizontalPodAutoscalerBehavior,
    HorizontalPodAutoscalerSpec,
    HPAScalingPolicy,
    HPAScalingRules,
    MetricSpec,
    MetricTarget,
    ResourceMetricSource,
)
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler

from antei.api.defaults.fill import change, fill, inside

__all__ = ["horizontal_pod_autoscaler"]

_CPU_UTILIZATION_PERCENT = 80


def horizontal_pod_autoscaler(obj: HorizontalPodAutoscaler) -> HorizontalPodAutoscaler:
    return inside(obj, spec=_spec)


def _spec(spec: HorizontalPodAutoscalerSpec) -> HorizontalPodAutoscalerSpec:
    spec = fill(spec, minReplicas=1)
    if not spec.metrics:
        target = MetricTarget(type="Utilization", averageUtilization=_CPU_UTILIZATION_PERCENT)
        metric = MetricSpec(type="Resource", resource=ResourceMetricSource(name="cpu", target=target))
        spec = change(spec, metrics=[metric])
    return inside(spec, behavior=_behavior)


def _behavior(behavior: HorizontalPodAutoscalerBehavior) -> HorizontalPodAutoscalerBehavior:
    """Only a behavior that is there is completed; without one the controller has its own."""
    all_at_once = HPAScalingPolicy(type="Percent", value=100, periodSeconds=15)
    up = fill(behavior.scaleUp or HPAScalingRules(), stabilizationWindowSeconds=0, selectPolicy="Max")
    if not up.policies:
        four_pods = HPAScalingPolicy(type="Pods", value=4, periodSeconds=15)
        up = change(up, policies=[four_pods, all_at_once])
    down = fill(behavior.scaleDown or HPAScalingRules(), selectPolicy="Max")
    if not down.policies:
        down = change(down, policies=[all_at_once])
    return change(behavior, scaleUp=up, scaleDown=down)
