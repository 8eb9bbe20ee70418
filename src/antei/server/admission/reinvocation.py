"""When what has changed an object makes others that were asked before be asked once more.

    first round:   built-in ─► a ─► b (changes) ─► c          b has changed what a was shown
    second round:  built-in ─► a, if its policy is IfNeeded   c has seen it already; b's own change does not count

Kubernetes: apiserver/pkg/admission/reinvocation.go, plugin/webhook/mutating/reinvocationcontext.go.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Reinvocation", "Turns"]


class Turns:
    """Of the webhooks, or of the policies: who is asked in which round."""

    def __init__(self, of: Reinvocation) -> None:
        self._of = of
        self._previously_asked: set[Any] = set()  # and willing to be asked again
        self._due: set[Any] = set()
        self._output: Any = None

    def begin(self, obj: Any) -> None:
        """A round; `obj` is what the built-in plug-ins have made of the object."""
        if self._of.is_again and obj != self._output:
            self._all_due()

    def is_due(self, identity: Any) -> bool:
        return not self._of.is_again or identity in self._due

    def asked(self, identity: Any, *, has_changed: bool, is_reinvocable: bool) -> None:
        if has_changed:
            self._all_due()
            self._of.is_needed = True
        if is_reinvocable:
            self._previously_asked.add(identity)

    def end(self, obj: Any) -> None:
        self._output = obj

    def _all_due(self) -> None:
        self._due |= self._previously_asked
        self._previously_asked.clear()


class Reinvocation:
    """Of one request."""

    def __init__(self) -> None:
        self.is_needed = False
        self.is_again = False
        self._turns: dict[str, Turns] = {}

    def turns(self, plugin: str) -> Turns:
        return self._turns.setdefault(plugin, Turns(self))
