"""All rules, in the order in which they are listed."""

from __future__ import annotations

from antei.check.model import Rule
from antei.check.rules import budgets, objects, probes, rollout, services, termination

__all__ = ["all_rules", "rule_named"]


def all_rules() -> tuple[Rule, ...]:
    return (
        *objects.RULES,
        *probes.RULES,
        *termination.RULES,
        *budgets.RULES,
        *rollout.RULES,
        *services.RULES,
    )


def rule_named(rule_id: str) -> Rule | None:
    return next((rule for rule in all_rules() if rule.id == rule_id), None)
