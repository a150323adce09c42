"""Keys, by textual's names, as the bytes that a terminal sends for them (xterm's). Pure."""

from __future__ import annotations

LEAVE = "f2,ctrl+right_square_bracket"
"""The keys that leave the target's terminal; no program gets them."""

_CURSOR = {"up": "A", "down": "B", "right": "C", "left": "D", "home": "H", "end": "F"}
_TILDE = {"insert": 2, "delete": 3, "pageup": 5, "pagedown": 6, "f5": 15, "f6": 17, "f7": 18,
          "f8": 19, "f9": 20, "f10": 21, "f11": 23, "f12": 24}  # fmt: skip
_PF = {"f1": "P", "f2": "Q", "f3": "R", "f4": "S"}
_MODIFIERS = {"shift": 1, "alt": 2, "ctrl": 4}


def key_bytes(key: str, character: str | None, *, application_cursor: bool) -> bytes:
    """What the key sends; nothing for a key that no terminal has a code for."""
    *modifiers, name = key.split("+") if key != "+" else ["+"]
    code = 1 + sum(_MODIFIERS.get(modifier, 0) for modifier in modifiers)
    if name in _CURSOR:
        if code > 1:
            return f"\x1b[1;{code}{_CURSOR[name]}".encode()
        return f"\x1b{'O' if application_cursor else '['}{_CURSOR[name]}".encode()
    if name in _TILDE:
        return f"\x1b[{_TILDE[name]}{f';{code}' if code > 1 else ''}~".encode()
    if name in _PF:
        return (f"\x1b[1;{code}{_PF[name]}" if code > 1 else f"\x1bO{_PF[name]}").encode()
    if key == "shift+tab":
        return b"\x1b[Z"
    if character is None:
        return b""
    return (b"\x1b" if "alt" in modifiers else b"") + character.encode()
