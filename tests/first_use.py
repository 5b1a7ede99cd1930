"""Imported last by the server that ranks are forked from: what is read when it is first needed is there."""

from __future__ import annotations

import gc

from lemminflect import getAllLemmas

getAllLemmas("read")
gc.freeze()  # no process that is forked looks through all of it for its own garbage
