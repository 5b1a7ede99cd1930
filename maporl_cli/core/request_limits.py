"""How much a request to a served team may hold: what a server refuses beyond, and memory is planned by."""

from __future__ import annotations

BODY = 1 << 20
"""Bytes of a request."""
ROWS = 64
"""Questions of a request."""
CHARACTERS = 50_000
"""Of a question, with all that belongs to it."""
