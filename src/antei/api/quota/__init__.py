"""What objects count for in ResourceQuotas: the arithmetic that admission and the controller share.

Kubernetes: pkg/quota/v1, apiserver/pkg/quota/v1.
"""

from __future__ import annotations

from antei.api.quota.amounts import Amounts, amounts_of, less, mask, minus, plus, shown, texts_of
from antei.api.quota.scopes import is_in_scope
from antei.api.quota.usage import missing_requirements, tracked, usage_of

__all__ = [
    "Amounts",
    "amounts_of",
    "is_in_scope",
    "less",
    "mask",
    "minus",
    "missing_requirements",
    "plus",
    "shown",
    "texts_of",
    "tracked",
    "usage_of",
]
