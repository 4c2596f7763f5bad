"""Taskjobs, the operator: runs batch jobs that are Kubernetes objects.

The parts and the one way of the data through them are drawn in `docs/architecture.md`.
"""
