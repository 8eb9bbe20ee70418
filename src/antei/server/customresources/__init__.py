"""Serving custom kinds: their versions, and the definitions themselves."""
