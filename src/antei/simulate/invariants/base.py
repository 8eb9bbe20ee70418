"""A rule that looks at nothing: the real ones override what they look at."""

from __future__ import annotations

from typing import Any, ClassVar

from antei.network.services import ServiceTable
from antei.runtime.simulated import Happening
from antei.simulate.invariants.ground import Ground
from antei.simulate.invariants.population import Population
from antei.store import Change

__all__ = ["Quiet"]


class Quiet:
    name: ClassVar[str] = ""

    def __init__(self, ground: Ground, population: Population) -> None:
        self._ground = ground
        self._population = population

    def wrote(self, change: Change) -> None:
        """A write, after the population has taken note of it."""

    def happened(self, happening: Happening, pod_uid: str) -> None:
        """Something happened to a container."""

    def table_changed(self, table: ServiceTable) -> None:
        """New connections go elsewhere from now on."""

    def updated(self, sent: Any, written: Any) -> None:
        """A controller's update succeeded."""

    def sampled(self) -> None:
        """Ten seconds went by."""

    def _fail(self, text: str, *objects: str) -> None:
        self._ground.fail(self.name, text, *objects)
