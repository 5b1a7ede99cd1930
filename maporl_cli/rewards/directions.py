"""Words that point opposite ways: who says the one where the source has the other turns it round."""

from __future__ import annotations

from collections.abc import Set

from maporl_cli.rewards.stems import stem


def _stems(words: str) -> frozenset[str]:
    return frozenset(map(stem, words.split()))


RISE = _stems(
    "increase increased raise raised higher more greater elevate elevated rise rose worse longer larger"
)
FALL = _stems(
    "decrease decreased reduce reduced lower lowered less fewer fall fell rarer smaller shorter suppress"
)
HARM = _stems("harm worsen damage toxic fatal death danger unsafe")
PROTECT = _stems("protect protects improve benefit safe prevent safely")
BACKED = _stems(
    "superior effective recommend recommended prefer preferred suggest suggested advise advised indicated "
    "favor favour first choice should"
)
REFUSED = _stems("inferior ineffective avoid avoided contraindicated unnecessary withhold withheld")

OPPOSED = (
    (RISE, FALL),
    (HARM, PROTECT),
    (BACKED, REFUSED),
    (_stems("positive"), _stems("negative")),
    (_stems("affect affected lose lost"), _stems("spare spared preserve preserved")),
    (
        _stems("provoke provoked cause caused trigger triggered develop developed"),
        _stems("prevent prevented relieve relieved avert averted"),
    ),
    (_stems("untreated"), _stems("treated treat treatment")),
)


def opposed(said: Set[str], written: Set[str]) -> bool:
    """Whether stems that are said point one way, and those that are written the other way."""
    return any(
        said & this and not said & that and written & that and not written & this
        for one, other in OPPOSED
        for this, that in ((one, other), (other, one))
    )
