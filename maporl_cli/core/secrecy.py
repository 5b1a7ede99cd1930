"""What looks like a secret, by its name or by what it is: it must not stand where others can read it."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""Of a name such as `DB_PASS`, `wandb-key` or `awsSecretAccessKey`."""
_HIDES = re.compile(
    r"(SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|PWD|CREDENTIALS?|TOKEN|APIKEYS?|(ACCESS|PRIVATE|SECRET)KEYS?)$"
)
_HIDES_ANYWHERE = re.compile(r"(API|ACCESS|AUTH|ENCRYPTION|PRIVATE|SIGNING) KEYS?\b")
_HIDES_AT_THE_END = frozenset(("AUTH", "PASS", "PAT", "KEY", "KEYS"))
_OPEN = frozenset(
    ("CACHE", "COST", "FOREIGN", "GROUP", "HASH", "INDEX", "MAX", "PARTITION", "PRIMARY", "PUBLIC", "SORT")
)
"""A key or token of these is no secret."""
_COMMIT = frozenset(("CHECKSUM", "COMMIT", "DIGEST", "GIT", "HASH", "REV", "REVISION", "SHA", "VERSION"))
"""What 40 hexadecimal digits are that are no key of W&B."""
_HEX = re.compile(r"[0-9a-f]{40}")
_SECRET = re.compile(
    r"://(?!git@)[^/\s]+@"  # a password or token in an address
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?<![A-Za-z0-9])(?:"
    r"wandb_v1_|github_pat_|gh[pousr]_|glpat-|xox[abeprs]-"
    r"|hf_[A-Za-z0-9]{20}|sk-[A-Za-z0-9_-]{20}|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|eyJ[\w-]+\.[\w-]+\.)"  # a JSON Web Token
)
"""What keys and tokens of W&B, GitHub, GitLab, Slack, Hugging Face, OpenAI and AWS look like."""


def is_secret(value: str) -> bool:
    """Whether a value looks like a secret, whatever it is called."""
    return bool(_HEX.fullmatch(value) or _SECRET.search(value))


def tells_a_secret(name: str, value: str) -> bool:
    """Whether a value looks like a secret, or its name says that it is one."""
    words = [word.upper() for word in _WORDS.findall(name)]
    if not _COMMIT.isdisjoint(words) and _HEX.fullmatch(value):
        return _is_named_so(words)
    return _is_named_so(words) or is_secret(value)


def _is_named_so(words: list[str]) -> bool:
    if len(words) > 1 and words[-2] in _OPEN and words[-1] in ("KEY", "KEYS", "TOKEN"):
        words = words[:-2]
    return (
        any(map(_HIDES.search, words))
        or bool(_HIDES_ANYWHERE.search(" ".join(words)))
        or not _HIDES_AT_THE_END.isdisjoint(words[-1:])
    )
