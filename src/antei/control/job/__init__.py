"""Job: pods that run to completion, each counted exactly once."""

from antei.control.job.controller import JobController
from antei.control.job.ttl import TtlAfterFinishedController

__all__ = ["JobController", "TtlAfterFinishedController"]
