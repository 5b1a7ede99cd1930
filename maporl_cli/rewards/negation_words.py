"""The words that deny, and those that take a denial back, as `negation` reads them."""

from __future__ import annotations

from maporl_cli.rewards.stems import stem

Phrases = dict[str, list[tuple[str, ...]]]


def _by_first(*phrases: str) -> Phrases:
    found: Phrases = {}
    for phrase in sorted(phrases, key=len, reverse=True):
        words = tuple(phrase.split())
        found.setdefault(words[0], []).append(words)
    return found


LISTS = _by_first(
    "no", "denies", "denied", "without", "neither", "nor", "absence of", "negative for", "lack of",
    "nothing", "hardly", "scarcely", "none of",
)  # fmt: skip
"""These deny the whole enumeration that follows."""
AFTER = _by_first(
    "never had", "avoid", "avoiding", "avoids", "rather than", "instead of", "unlike", "excludes", "exclude",
    "excluded", "excluding", "rules out", "rule out", "ruled out", "ruling out", "argues against",
    "argue against", "speaks against", "speak against", "advises against", "advise against",
    "recommends against", "recommend against", "caution against", "warn against", "warns against",
    "decide against", "rejects", "reject", "stop", "stopping", "discontinue", "discontinuing",
    "withhold", "withholding", "switch from", "contraindicates", "less likely", "refuse",
    "better than", "safer than", "superior to", "preferred to", "preferable to", "beats", "outperforms",
    "mistake to", "wrong to", "dangerous to", "unwise to", "risky to", "hazardous to", "unsafe to",
    "harmful to", "error to", "idea to", "choice to", "reckless to", "foolish to", "tempting to",
    "temptation to", "hold", "hold off", "stay away from", "steer clear of", "keep away from",
    "refrain from", "disagree with", "disagree on", "disagree", "object to", "omit", "discard", "skip",
    "skipping", "i doubt", "we doubt", "anything but", "far from", "too early for", "too dangerous to",
    "keep off", "beware of", "dispense with", "do away with", "ban", "forbid", "forbids", "prohibits",
    "precludes", "preclude", "forgo", "withdraw", "swap", "in place of", "cease", "drop", "replace",
    "replaces", "replacing", "take the place of", "takes the place of", "cross out", "crossed out",
    "strike out", "struck out", "tempts us with", "get rid of", "rid of", "do without", "goodbye to",
    "farewell to", "defer", "defers", "deferring", "postpone", "postpones", "postponing",
)  # fmt: skip
"""These deny what follows, up to the next comma."""
KEEP = frozenset("keep keeps keeping kept leave leaves leaving left".split())
"""What stands between one of these and "out" is denied: "leave X out"."""
LOST = _by_first(
    "poor choice", "bad choice", "wrong choice", "worst choice", "poor option", "bad option", "poor idea",
    "bad idea", "wrong drug", "no role", "no place", "no use", "no value", "no option", "no good", "no help",
    "wo help", "won't help", "red herring", "falls short", "fall short", "last thing", "off the table",
    "out of the question", "has to go", "have to go", "must go", "has to wait", "have to wait", "must wait",
    "should wait", "can wait", "asking for trouble", "inferior to", "second to", "worse than", "loses to",
    "too dangerous", "too risky", "a mistake", "an error", "a trap", "the trap", "classic trap", "a no go",
    "anything but", "far from", "less likely than", "less likely with", "less likely on", "less likely after",
    "less likely under", "best avoided", "best left", "better left", "better avoided", "not an option",
    "off limits", "falls away", "fall away", "drops out", "drop out", "be swapped for", "be replaced by",
    "be exchanged for", "would be folly", "never an option", "cannot be justified", "struck off",
    "crossed off", "does not need", "do not need", "not the right", "not the correct", "nothing to act on",
)  # fmt: skip
"""These deny what stands before them, whatever follows."""
BEFORE = frozenset(
    "contraindicated unsafe unlikely incorrect wrong excluded harmful dangerous inappropriate avoided "
    "withheld discontinued stopped unnecessary ineffective fatal improper unwarranted absent refuted "
    "forbidden unhelpful untrue false implausible ruled rejected omitted useless futile pointless out "
    "unwise hazardous unsuitable inadvisable lethal deadly disastrous catastrophic resisted deferred "
    "postponed delayed skipped prohibited precluded banned unacceptable".split()
)
"""These deny what stands before, after a form of "to be"."""
FAILS = frozenset(
    "fails fail failed worsens worsen harms harm untreated lacks misses trigger triggers provoke "
    "provokes precipitate precipitates".split()
)
"""These deny what stands before by themselves."""
BE = frozenset(
    "is are was were be been being seems appears would looks remains sounds stays it's that's they're".split()
)
DENY = frozenset(
    "not never isn't aren't wasn't weren't don't doesn't didn't can't cannot couldn't shouldn't won't "
    "wouldn't hasn't haven't hadn't mustn't".split()
)
IS = BE - {"would"}
STANDS_FOR = BE | frozenset("it this that they these it's that's they're".split())
"""A clause of these only speaks of what stands before it."""
IS_NOT = frozenset("isn't aren't wasn't weren't".split())
"""A "not" that holds its form of "to be" in itself."""
DUTY = frozenset("must should ought may".split())
"""Before "not", these forbid: "must not be given"."""
CLAUSE = frozenset(
    "but however although though because since so therefore which whereas while yet except hence thus "
    "if unless whether".split()
)
RELATIVE = frozenset("who which that".split())
"""A verb behind one of these is not that of its sentence."""
MEAN = frozenset("mean means suggest suggests indicate indicates point points make makes".split())
"""What a row of findings does."""
CANCEL = frozenset(
    "differ difference differences doubt contraindicated unsafe unlikely excluded ruled only harmful "
    "dangerous wrong incorrect rule exclude delay just merely simply hesitate forget avoid withhold wait "
    "delayed postponed postpone deferred defer alternative missed miss skipped skip skimp optional withheld "
    "stop stopped discontinue discontinued avoided afraid refused refuse omitted omit neglected overlooked "
    "without hesitation problem problems objection objections contraindication contraindications "
    "unreasonable inappropriate forbidden prohibited unwise shy worry put late".split()
)
"""After "not", these leave nothing denied: "not only", "cannot be excluded", "do not delay"."""
REASONS = frozenset("reason reasons need cause grounds justification point sense".split())
"""After "no", with a denial behind: "no reason to withhold it"."""
OTHER_THAN = frozenset("but other except else wrong".split())
"""After "nothing", these leave what follows standing: "nothing but surgery helps"."""
LOST_WITHOUT = frozenset("lost dies die suffer suffers collapse collapses perish worsen deteriorate".split())
"""After a sentence's first word "without", these say that it must be had."""
SPARES = frozenset(
    "absorbed excreted metabolized eliminated cleared affected linked associated followed toxic needed "
    "altered changed influenced accompanied inhibited limited restricted".split()
)
"""What is said "not" to be so is not spoken against by it."""
SERVES = frozenset(
    map(
        stem,
        "help helps work fit suit explain treat cure cover reach apply belong account match solve suffice "
        "relieve benefit stop end address correct do make act have control count qualify support improve "
        "prevent work show answer come go matter add offer provide play".split(),
    )
)
"""What does "not" do so is spoken against by it."""
