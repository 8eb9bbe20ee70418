"""Volumes: what a pod's containers find at their mountPaths, and what of it follows an object as that changes."""
