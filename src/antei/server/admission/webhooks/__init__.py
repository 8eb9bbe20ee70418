"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook: asking programs of the cluster's users.

    configurations (`hooks`) ──► which of them are concerned ──► AdmissionReview (`review`) ──► call ──► its answer

Kubernetes: apiserver/pkg/admission/plugin/webhook.
"""

from __future__ import annotations

from antei.server.admission.webhooks.mutating import MutatingWebhooks
from antei.server.admission.webhooks.validating import ValidatingWebhooks

__all__ = ["MutatingWebhooks", "ValidatingWebhooks"]
