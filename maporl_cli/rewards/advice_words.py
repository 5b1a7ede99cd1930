"""What `rewards.advice` knows of English: words that advise, allow, praise, and tell of harm."""

from __future__ import annotations

from maporl_cli.rewards.stems import stem


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _stems(text: str) -> frozenset[str]:
    return frozenset(map(stem, text.split()))


COMMITS = _stems(
    "start begin give recommend prescribe administer add resume restart continue consider try choose "
    "chosen pick select prefer order proceed suggest offer infuse inject commence initiate advise "
    "propose opt endorse support favor favour vote indicate warrant need require deserve merit settle "
    "agree lean accept approve bridge load switch carry push benefit run reintroduce introduce employ "
    "apply maintain keep put stay go stick"
)
"""What somebody does who has decided for an act."""
BOUND = _stems("need require deserve merit call case worth lean vote opt settle favor favour support prefer")
"""Of those, the ones that need nobody who orders them: "she needs X", "a case for X"."""
DONE_WITH = _stems(
    "start begin begun give given use try tried add continue resume restart consider prescribe "
    "administer perform do done repeat choose chosen recommend indicate keep kept receive take taken "
    "place insert put attempt offer favor support run best better fine next safe reasonable "
    "appropriate acceptable ok okay allow permit sensible effective useful helpful line choice option "
    "drug step worth tolerate prefer ideal suitable justify excellent good first second used"
)
"""What may "be" done with an act, or what it may "be"."""
TAKES_PLACE = _stems("follow come go start begin do help work serve continue stay suit wait suffice")
"""What an act itself may do."""
MODALS = _words("can could may might should must shall will ought would let lets let's")
SURE_MODALS = _words("should must shall will ought")
"""A harmless verb behind these is a plan; behind "may" it may be a danger."""
PRAISES = _stems(
    "best better preferred preferable appropriate indicated reasonable safe effective acceptable "
    "warranted sensible okay ok fine usual allowed permitted suitable ideal excellent good fit "
    "quickest fastest easiest easier simplest helpful tolerated worth trial logical sound "
    "attractive permissible comfortable gentle proven justified defensible adequate well welcome "
    "solution"
) | _words("line option choice useful nod table support merit helps fits suits works")
FIGURES = _words(
    "choice drug agent answer treatment option plan step move pick preference vote line remedy test"
)
"""What the advised act is called: "the drug of choice is X", "my vote", "our agent"."""
FORMS = _words(
    "dose doses course infusion touch trial shot bolus tablet tablets spray drop drops attempt amount "
    "capsule drip pinch round cycle week weeks month months days milligram milligrams injection cream "
    "patch"
)
"""Before "of" an act: it is given in this form."""
LISTS = _words(
    "options candidates choices alternatives differential list lists question asks asked names answers "
    "include includes between compares interacts explained found contain contains"
)
"""These mention acts side by side, or ask for them."""
BENEFITS = _stems(
    "clear spare relieve settle calm ease help lower control cover treat cure prevent protect improve "
    "reduce suit work benefit soothe shorten save stop bring quiet serve handle manage dampen loosen "
    "suppress free buy"
)
HARMS = _stems(
    "harm hurt risk danger endanger threaten kill die death dead fatal lethal worsen worse aggravate "
    "exacerbate cause provoke precipitate trigger invite collapse crash accumulate poison toxic "
    "toxicity damage injure injury destroy rupture perforate herniate bleed premature unopposed "
    "unmask teratogenic malform defect acidosis hemolysis bronchospasm arrest shock crisis thrombosis "
    "fibrillation hyperkalemia hypotension failure megacolon anaphylaxis rigid stiff culprit problem "
    "trouble disaster catastrophe mistake error folly taboo wrong unsafe hazard hazardous multiply "
    "double triple drop plummet plunge fall tear block paralyze trap stain mask narrow constrict "
    "convert syndrome seizure stroke responsible blame lose lost loses deprive fetotoxic overdose "
    "suffer ventilator unfit poor bad deform stillbirth embryopathy loss precipitous delay obscure "
    "hide blind tempt temptation distractor"
)
"""What goes wrong, unless the act is said to prevent it."""
REASONS = _words("reason cause")
"""Harms that only these forms tell of: "the likely reason", and not "reasonable"."""
BLAMING = _words(
    "danger dangers risk risks harm toxicity problem trouble culprit mistake error fault work doing result "
    "consequence"
)
"""Before an act these speak ill of it; other harms before it may be what it is for."""
VERDICTS = _words("error mistake folly wrong disaster dangerous fatal madness trap no")
REFUSING = _words("disagree object refuse declined decline refused")
ASKING = _words("should could can may is are would does shall")
"""At the head of a sentence these ask."""
ASIDE = _words("out away aside alone")
"""Right behind an act: ruled "out", thrown "away"."""
OTHERS = _words(
    "nobody none patients people others elsewhere anyone whoever everybody adults children women men "
    "cases infants series ordinarily normally otherwise guidelines usually trials study most "
    "textbook textbooks other"
)
"""A clause with one of these speaks of others than this patient."""
SELF = _words("i we my our me us i'd we'd i'll we'll")
PATIENT = _words("he she him her his they them patient boy girl child man woman this")
ANAPHORS = _words("it that this these those them one which")
"""These may stand for the act in another clause than its own."""
APART = _words(
    "from than without against unlike despite until before after about beyond off as what how like"
)
"""Right before the act these part it from the verb: "switch from X", "after X"."""
RELATED = _words(
    "alternative alternatives allergy allergic anaphylaxis hypersensitivity reaction exposure due "
    "response similar opposed compared exposed"
)
"""Before "to", these relate to an act and advise none."""
ARTICLES = _words("a an the any this that his her some more little oral")
INFORMS = _stems(
    "remove note remember recall explain tell warn ask measure check watch document reverse replace exchange "
    "compare see know mind expect recognize think screen monitor taper reduce stop hold avoid withhold "
    "cause risk question trial patient keep beware look rate"
)
"""Orders that speak of an act and do not order it."""
WATCHES = _words("check watch monitor recheck")
"""With these a "but" is a caution and no objection: "X is best, but watch the potassium"."""
PLANS = _words(
    "daily twice nightly every week weeks days minutes hours bedtime tonight now first then next today "
    "again back tomorrow hourly weekly once straightaway needed prn sublingually intravenously orally "
    "under for by until on"
)
"""Beside an act without a verb these make a plan."""
ORDER = _words("first next now then today again back tomorrow")
DOSES = _words("mg mcg g units iu drops puffs ml % percent tablets")
NEGATORS = _words(
    "no not nothing never cannot can't don't doesn't isn't wouldn't won't shouldn't hardly little "
    "nobody neither"
)
OBJECTIONS = _stems(
    "contraindicated contraindication contraindications object objection objections mind harm hurt "
    "damage worry concern problem danger against withhold withheld avoid avoided discontinue refuse "
    "fear afraid unreasonable wrong unsafe inappropriate question table forbidden prohibited barrier "
    "obstacle issue trouble bother stop stopped forbid preclude qualms reservations deny quarrel "
    "change postpone postponed delay delayed"
)
"""Denied, these let an act happen: "no reason to withhold it", "it does not worry me"."""
BETWEEN = _words(
    "be a an any really see lasting real speaks speak out of the off reason reasons to need must have "
    "has do does great major serious formal strict absolute much cause in is there i argues would it "
    "me should grounds"
)
"""What may stand between "no" and an objection."""
UNDOES = _stems("stop withhold omit avoid discontinue leave end cease drop")
DONE = _words(
    "complete completed established achieved delivered delivery birth corrected resolved normalized "
    "excluded ruled recovered cleared healed gone washed washout"
)
"""Behind "once", "after" or "when": what contraindicated the act has gone."""
HISTORY = _words("takes took taking uses used using receives received receiving had on")
