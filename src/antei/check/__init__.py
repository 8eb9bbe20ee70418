"""`antei check`: what the probes, hooks and budgets of manifests come to, and what is wrong with them.

    documents ──► workload.graph_of ──► rules ──► findings ──► output.* , fix
                        └──► explain (arithmetic) ──► output.*

Only `sources` reads files, `live` a cluster; all else is pure.
"""

from __future__ import annotations

from antei.check.model import Edit, Finding, Options, Problem, Rule, Severity
from antei.check.report import Ignored, Report, check
from antei.check.rules.catalog import all_rules

__all__ = ["Edit", "Finding", "Ignored", "Options", "Problem", "Report", "Rule", "Severity", "all_rules", "check"]
