"""Rehearsals: break the running workload in every ordinary way while a client uses it, and count what was lost.

scenario (data) ─► play ─► target: an embedded cluster, or any Kubernetes API
                    │          │
                   load    observe ─► timeline ─► verdict (pure) ─► report: terminal, HTML, JSON, JUnit
"""
