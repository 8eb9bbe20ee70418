"""Who calls: the administrator's token, a ServiceAccount's, a client certificate, or nobody; and as whom they act.

Kubernetes: apiserver/pkg/authentication, pkg/serviceaccount.
"""

from __future__ import annotations

from antei.server.authentication.authenticator import ADMIN, Authenticator
from antei.server.authentication.impersonation import impersonated
from antei.server.authentication.service_account_tokens import (
    ISSUER,
    InvalidToken,
    IssuedToken,
    ServiceAccountTokens,
    VerifiedToken,
)

__all__ = [
    "ADMIN",
    "ISSUER",
    "Authenticator",
    "InvalidToken",
    "IssuedToken",
    "ServiceAccountTokens",
    "VerifiedToken",
    "impersonated",
]
