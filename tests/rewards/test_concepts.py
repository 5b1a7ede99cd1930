"""What a concept is called: spellings, synonyms and abbreviations give the same one."""

from __future__ import annotations

import pytest

from maporl_cli.rewards.statements import named


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("haemorrhage", "hemorrhage"),
        ("anaemia", "anemia"),
        ("oedema", "edema"),
        ("diarrhoea", "diarrhea"),
        ("dyspnoea", "dyspnea"),
        ("hypercalcaemia", "hypercalcemia"),
        ("ischaemia", "ischemia"),
        ("oesophagitis", "esophagitis"),
        ("oestrogen", "estrogen"),
        ("caesarean section", "cesarean section"),
        ("coeliac disease", "celiac disease"),
        ("phaeochromocytoma", "pheochromocytoma"),
        ("tumour lysis syndrome", "tumor lysis syndrome"),
        ("thrombocytopaenia", "thrombocytopenia"),
        ("leucocytosis", "leukocytosis"),
        ("adrenaline", "epinephrine"),
        ("noradrenaline", "norepinephrine"),
        ("paracetamol", "acetaminophen"),
        ("salbutamol", "albuterol"),
        ("GTN", "nitroglycerin"),
        ("PTH", "parathyroid hormone"),
        ("GCA", "giant cell arteritis"),
        ("MI", "myocardial infarction"),
        ("COPD", "chronic obstructive pulmonary disease"),
        ("LDH", "lactate dehydrogenase"),
        ("temporal arteritis", "giant cell arteritis"),
        ("corticosteroids", "steroid"),
    ],
)
def test_two_names_of_one_thing(one, other):
    assert named(one) == named(other)
    assert named(one)


@pytest.mark.parametrize("word", ["hit", "all", "ms", "ra", "aerobic", "phoenix", "our", "pages"])
def test_words_that_name_nothing(word):
    assert named(word) == frozenset()
