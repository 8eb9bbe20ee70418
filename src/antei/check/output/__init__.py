"""How a report is written: a table for people, and JSON, SARIF, JUnit and GitHub's annotations for machines.

Each module has a pure `render`.
"""
