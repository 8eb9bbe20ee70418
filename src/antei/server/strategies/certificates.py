"""CertificateSigningRequests (Kubernetes: pkg/registry/certificates/certificates/strategy.go)."""

from __future__ import annotations

from typing import Any

from antei.server.strategies.generic import Context, Strategy

__all__ = ["CertificateSigningRequestStrategy"]


class CertificateSigningRequestStrategy(Strategy):
    def prepare_subresource(self, subresource: str, new: Any, old: Any, context: Context) -> Any:
        """`approval` changes conditions, which are part of the status."""
        if subresource != "approval":
            return super().prepare_subresource(subresource, new, old, context)
        return self.prepare_status(new, old, context)
