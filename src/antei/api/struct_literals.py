"""`Object{spec: Object.spec{replicas: 3}}` and `JSONPatch{op: "add", …}` in expressions, as maps.

Kubernetes declares these types to its runtime. Here they are rewritten before they are compiled: the names go, the
fields turn into keys. A field that a kind has not is so only found out as the object is decoded.
"""

from __future__ import annotations

import re

__all__ = ["with_maps"]

_TOKEN = re.compile(
    r"""(?P<string>[bBrR]{0,2}(?:'{3}(?:[^\\]|\\.)*?'{3}|"{3}(?:[^\\]|\\.)*?"{3}|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
    |(?P<type>\b(?:Object(?:\s*\.\s*[A-Za-z_]\w*)*|JSONPatch)\s*\{)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<comment>//[^\n]*)
    |(?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)
_OPENING, _CLOSING = "([{", ")]}"


def with_maps(expression: str) -> str:
    written: list[str] = []
    # Of each bracket that is open: whether it is one of these literals, and whether a field's name may come next.
    open_brackets: list[list[bool]] = []
    for token in _TOKEN.finditer(expression):
        text = token.group()
        match token.lastgroup:
            case "type":
                open_brackets.append([True, True])
                written.append("{")
            case "name":
                is_field = bool(open_brackets) and open_brackets[-1] == [True, True]
                written.append(f'"{text}"' if is_field else text)
                if is_field:
                    open_brackets[-1][1] = False
            case "other":
                if text in _OPENING:
                    open_brackets.append([False, False])
                elif text in _CLOSING and open_brackets:
                    open_brackets.pop()
                elif text == "," and open_brackets and open_brackets[-1][0]:
                    open_brackets[-1][1] = True
                written.append(text)
            case _:
                written.append(text)
    return "".join(written)
