"""Kubernetes' own functions, a module a library. Each gives `DECLARATIONS`: function → overloads.

The runtime has no way to add types, so a quantity, an address, a URL … is a map with a key that no JSON object has.
Kubernetes: apiserver/pkg/cel/library.
"""
