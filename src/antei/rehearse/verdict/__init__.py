"""From what was seen to a verdict with its causes: pure.

`facts` what the manifest promises → `faults`, `lives` what the marks tell → `trace` which event each lost request is
due to → `explanations`, `causes` in words, with a remedy → `times`, `judge` whether the objectives are met.
"""

from antei.rehearse.verdict.facts import WorkloadFacts, facts_of
from antei.rehearse.verdict.judge import judge, not_played

__all__ = ["WorkloadFacts", "facts_of", "judge", "not_played"]
