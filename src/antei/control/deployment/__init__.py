"""Deployment: rolls from one ReplicaSet to the next without ever having too many pods or too few."""

from antei.control.deployment.controller import DeploymentController

__all__ = ["DeploymentController"]
