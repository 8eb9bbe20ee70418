"""The rules of a cluster that must hold at every step, whatever happens: SEMANTICS as code that looks on.

    store ──► each write ─────┐                     ┌─► holds
    runtime ► each happening ─┼─► population ─► rule┤
    table ──► each that counts│   (what is true)    └─► broken: rule, virtual time, objects; the run ends
    nodes ──► each signal ────┘

A rule judges decisions by what whoever decided can have known: what was true at some moment since the oldest write that
the controllers' informers have not been told of (`knowledge.py`, `Ground.known_since`). In fair weather that is the
moment itself; while a watch is late or broken, it is just as long as that lasts.
"""

from antei.simulate.invariants.ground import Broken, Ground, Rule
from antei.simulate.invariants.watchman import RULES, Watchman

__all__ = ["RULES", "Broken", "Ground", "Rule", "Watchman"]
