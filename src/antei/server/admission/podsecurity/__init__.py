"""PodSecurity: the Pod Security Standards, by labels of a namespace.

    namespace's labels ──► policy (`levels`) ──► checks of that level and version (`baseline`, `restricted`)
                                                   └─► enforce: 403 for pods   warn: a Warning   audit: an annotation

Kubernetes: staging/src/k8s.io/pod-security-admission.
"""

from __future__ import annotations

from antei.server.admission.podsecurity.plugin import PodSecurity

__all__ = ["PodSecurity"]
