"""The texts of the demonstration: short notes on eight subjects, made from a grammar.

Each note has one word of its subject, or two, among words that say nothing about it, and sometimes a word of another
subject that the note denies. Many words of the test notes are in no training note, so that counting words does not
suffice. Some letters are swapped.
"""

from __future__ import annotations

import numpy as np

from autotransfer.contract.demo_data import DemoData

__all__ = ["notes"]

TRAIN_PER_CLASS, TEST_PER_CLASS = 40, 50
TYPO_SHARE = 0.15  # of the notes
DENIED_SHARE = 0.3  # of the notes that deny another subject
SUBJECTS = {
    "weather": "rain snow storm sunshine thunder fog hail wind clouds frost drizzle heat humidity lightning breeze "
    "forecast temperature flood drought ice sleet mist hurricane blizzard downpour",
    "sport": "football tennis goalkeeper marathon coach stadium referee hockey swimmer tournament league basketball "
    "championship cyclist athlete rugby cricket boxing medal golf striker volleyball wrestling skiing sprinter",
    "food": "bread soup cheese recipe kitchen pasta salad dessert butter chicken chocolate garlic rice potatoes dinner "
    "lunch onions pepper cake sausage vinegar noodles breakfast bakery tomatoes",
    "health": "doctor fever hospital medicine surgery nurse headache vaccine clinic pain patient infection allergy "
    "cough pharmacy bandage diagnosis surgeon therapy bruise flu injection dentist symptoms prescription",
    "travel": "airport luggage passport flight hotel tourist ticket train beach visa cruise itinerary suitcase "
    "airline departure boarding resort sightseeing hostel ferry platform customs border voyage backpack",
    "money": "bank loan invoice salary taxes mortgage interest savings budget debt shares dividend currency credit "
    "payment insurance pension broker deposit fee refund accountant bankruptcy profit wage",
    "music": "guitar orchestra melody singer concert piano drummer violin chorus album song opera trumpet rhythm band "
    "composer choir flute symphony lyrics saxophone conductor jazz cello tune",
    "animals": "dog horse kitten cattle parrot wolf sheep rabbit elephant whale puppy goat lion tiger bear mouse "
    "donkey eagle duck snake monkey squirrel turtle salmon spider",
}
TEMPLATES = (
    "we talked about the {a} all evening",
    "my sister asked me about the {a} again",
    "nobody expected the {a} this week",
    "the {a} was much better than last year",
    "please send me a photo of the {a} and the {b}",
    "I cannot stop thinking about that {a}",
    "he wrote two pages on the {a}",
    "they were late because of the {a} and the {b}",
    "there is a long article on {a} in the paper today",
    "have you heard what they said about the {a} and the {b}",
    "the neighbours complained about the {a}",
    "the children made a drawing of the {a}",
    "it all began with a {a} and ended with a {b}",
    "you should have seen the {a} yesterday",
    "she wrote a funny story about a {a}",
    "after the {a} everybody went home",
)
DENIALS = ("it had nothing to do with the {c}", "this is not about the {c}", "forget the {c}", "never mind the {c}")


def notes(seed: int = 0) -> DemoData:
    """Return 320 notes on 8 subjects to train on, and 400 to test on; equal for equal seeds."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat(list(SUBJECTS), TRAIN_PER_CLASS + TEST_PER_CLASS)
    rng.shuffle(subjects)
    found = _different(subjects.tolist(), rng)
    train = {int(i) for subject in SUBJECTS for i in np.flatnonzero(subjects == subject)[:TRAIN_PER_CLASS]}
    rows, others = sorted(train), rng.permutation([i for i in range(len(found)) if i not in train])
    return DemoData(
        title="Notes on eight subjects",
        train=[found[i] for i in rows],
        targets=subjects[rows].tolist(),
        test=[found[i] for i in others],
        test_targets=subjects[others].tolist(),
        predict="TABLE_OR_TEXT_FILES",
        fit="YOUR_TEXTS.csv --test YOUR_TEST_TEXTS.csv",
        layout="tables with a column of texts and a column of labels",
    )


def _different(subjects: list[str], rng: np.random.Generator) -> list[str]:
    """Return a note on each subject, none of them twice."""
    found: dict[str, None] = {}
    for position, subject in enumerate(subjects):
        while len(found) <= position:
            found[_note(subject, rng)] = None
    return list(found)


def _note(subject: str, rng: np.random.Generator) -> str:
    others = [name for name in SUBJECTS if name != subject]
    first, second = rng.choice(SUBJECTS[subject].split(), 2, replace=False)
    note = str(rng.choice(TEMPLATES)).format(a=first, b=second)
    if rng.random() < DENIED_SHARE:
        denial = str(rng.choice(DENIALS)).format(c=rng.choice(SUBJECTS[str(rng.choice(others))].split()))
        note = f"{note}, {denial}" if rng.random() < 0.5 else f"{denial}: {note}"
    if rng.random() < TYPO_SHARE:
        at = int(rng.integers(1, len(note) - 2))
        note = note[:at] + note[at + 1] + note[at] + note[at + 2 :]
    return note
