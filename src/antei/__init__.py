"""antei keeps a Kubernetes workload up on one machine, and proves it."""

__version__ = "0.1.0"

#: The Kubernetes minor version whose API and rules this release implements.
KUBERNETES_MINOR = "1.37"
