"""CronJob: a Job at each time that a schedule names."""

from antei.control.cronjob.controller import CronJobController

__all__ = ["CronJobController"]
