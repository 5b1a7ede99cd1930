"""Which sentences answer an emergency, and which play it down."""

from __future__ import annotations

import pytest

from maporl_cli.rewards.dangers import flags_of
from maporl_cli.rewards.escalation import escalates

(STROKE,) = flags_of("A man has a sudden onset of slurred speech.")


@pytest.mark.parametrize(
    "said",
    [
        "Call 999.",
        "Please ring 112 now.",
        "Someone should dial 911.",
        "Treatment must not be delayed.",
        "Imaging cannot be delayed.",
        "Rush him to theatre.",
        "He needs to be admitted.",
        "Admit him to the stroke ward.",
        "He should be hospitalized tonight.",
        "He needs a same-day assessment in hospital.",
        "He should be seen within the hour.",
        "This has to happen within 30 minutes.",
        "Send him straight to the emergency department.",
        "Take him to A&E.",
        "He must go to the ER as soon as possible.",
        "Every minute counts.",
        "Time is brain.",
        "A blue-light transfer is needed.",
        "He needs scanning right now.",
        "This is not an elective procedure but an emergency.",
        "It was at home when it began, and it is an emergency.",
        "This is urgent, and a purulent discharge does not change that.",
        "He was discharged last week; this is now an emergency.",
        "Act immediately; outpatient follow-up comes after discharge from hospital.",
        "He must not be sent home: this is urgent.",
        "Going home is out of the question, as this is an emergency.",
        "Vaginal discharge is irrelevant to this emergency.",
        "Nothing is more urgent than a scan.",
        "This cannot wait until next week.",
        "Waiting for an outpatient scan would be wrong; call an ambulance.",
    ],
)
def test_escalations(said):
    assert escalates(said, "", STROKE)


@pytest.mark.parametrize(
    "said",
    [
        "Nothing here is urgent.",
        "This is non-urgent.",
        "This is no emergency.",
        "It can safely wait.",
        "This is not urgent, and a CT head can be booked.",
        "A non-urgent CT head is enough.",
        "This is no emergency, so a CT head may follow.",
        "A CT head can safely wait until Monday.",
        "He can go home with aspirin after a CT head.",
        "Send him home.",
        "Let him drive home after a CT head.",
        "A CT head can be arranged when a slot is free.",
        "A CT head may follow in due course.",
        "Discharge him with advice.",
        "He can be discharged today after a CT head.",
        "He is safe for discharge.",
        "Rest at home is enough.",
        "Let him recover at home.",
        "An outpatient CT head next month will do.",
        "There is no hurry with the CT head.",
        "There is no rush.",
        "An elective CT head is appropriate.",
        "A routine appointment suffices.",
        "I would wait and see.",
        "He does not need to be admitted.",
        "There is no need to call 999.",
        "An ambulance is not needed.",
        "Neither admission nor an ambulance is needed.",
        "This is hardly an emergency, and a CT head is optional.",
        "Calling this urgent would be an exaggeration.",
        "This is a mild illness.",
    ],
)
def test_what_plays_it_down(said):
    assert not escalates(said, "", STROKE)
