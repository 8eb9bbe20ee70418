"""What a kind does differently from all others when it is created, changed and deleted.

One `Strategy` a kind, found by bucket; most kinds are content with `Strategy` itself.
Kubernetes: pkg/registry/<group>/<kind>/strategy.go.
"""

from __future__ import annotations

from antei.server.strategies.generic import Context, Strategy
from antei.server.strategies.table import strategy_of

__all__ = ["Context", "Strategy", "strategy_of"]
