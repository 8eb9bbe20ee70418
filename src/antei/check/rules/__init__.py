"""The rules of `antei check`: a module a subject, all of them in `catalog`."""
