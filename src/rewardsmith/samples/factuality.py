"""Factuality: one question from the fact table, four answers of the same kind, one of them true.

Held out: wordings. Every fact is trained, in three quarters of the wordings of its relation; it is asked in the rest.

The fact table: what Factuality asks about. Written for this project; plain school knowledge.

A relation holds wordings of its question (`{e}` is the entity) and one answer per entity; the answers within a relation
are all different, so that the answer of one entity is a false answer for every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from rewardsmith.samples.blocks import BLOCK_SIZE, Block, Item, Part, pick, readings


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact: how it is asked, and the answer for each entity."""

    name: str
    wordings: tuple[str, ...]
    answers: dict[str, str]


def _table(text: str) -> dict[str, str]:
    """`"France: Paris, Japan: Tokyo"` as a dict."""
    return dict(entry.strip().split(": ") for entry in text.split(","))


CAPITAL = Relation(
    "capital",
    (
        "What is the capital of {e}?",
        "Which city is the capital of {e}?",
        "Name the capital city of {e}.",
        "Where does the government of {e} sit?",
        "{e}: what is its capital?",
        "Tell me the capital of {e}.",
        "I am writing about {e}. Which city is its capital?",
        "Which capital city belongs to {e}?",
    ),
    _table(
        "France: Paris, Japan: Tokyo, Italy: Rome, Spain: Madrid, Germany: Berlin, Egypt: Cairo, Greece: Athens,"
        "Norway: Oslo, Sweden: Stockholm, Finland: Helsinki, Poland: Warsaw, Austria: Vienna, Hungary: Budapest,"
        "Portugal: Lisbon, Ireland: Dublin, Russia: Moscow, China: Beijing, India: Delhi, Kenya: Nairobi, Cuba: Havana,"
        "Peru: Lima, Chile: Santiago, Canada: Ottawa, Turkey: Ankara, Iran: Tehran, Iraq: Baghdad, Ghana: Accra,"
        "Thailand: Bangkok, Vietnam: Hanoi, Denmark: Copenhagen"
    ),
)

YOUNG = Relation(
    "young",
    (
        "What is the young of a {e} called?",
        "What do you call a baby {e}?",
        "Name the young of a {e}.",
        "A young {e} has which name?",
        "Tell me the word for a baby {e}.",
        "Baby {e}: which word is right?",
        "Which word means a young {e}?",
        "My son saw a baby {e}. What is it called?",
    ),
    _table(
        "cow: calf, dog: puppy, cat: kitten, sheep: lamb, horse: foal, goat: kid, lion: cub, frog: tadpole,"
        "duck: duckling, goose: gosling, swan: cygnet, deer: fawn, kangaroo: joey, turkey: poult, fish: fry,"
        "hen: chick, pig: piglet, butterfly: caterpillar, hare: leveret"
    ),
)

SYMBOL = Relation(
    "symbol",
    (
        "What is the chemical symbol of {e}?",
        "Which symbol stands for {e}?",
        "Give the symbol of the element {e}.",
        "How do chemists write {e}?",
        "In the periodic table, what is {e}?",
        "Tell me the symbol for {e}.",
        "{e}: what is its chemical symbol?",
        "Which letters mean {e} in chemistry?",
    ),
    _table(
        "gold: Au, silver: Ag, iron: Fe, copper: Cu, lead: Pb, tin: Sn, sodium: Na, potassium: K, helium: He,"
        "oxygen: O, hydrogen: H, carbon: C, nitrogen: N, zinc: Zn, mercury: Hg, neon: Ne, calcium: Ca, sulfur: S"
    ),
)

OPPOSITE = Relation(
    "opposite",
    (
        "What is the opposite of {e}?",
        "Which word is the opposite of {e}?",
        "Give me the antonym of {e}.",
        "Name the contrary of {e}.",
        "{e}: what is the opposite?",
        "If it is not {e}, what is it?",
        "Which word means the reverse of {e}?",
        "I need a word that is the opposite of {e}.",
    ),
    _table(
        "hot: cold, big: small, fast: slow, high: low, rich: poor, young: old, light: dark, open: closed, full: empty,"
        "hard: soft, wet: dry, loud: quiet, early: late, near: far, thick: thin, happy: sad, strong: weak,"
        "clean: dirty, sweet: bitter, deep: shallow, smooth: rough, sharp: blunt, brave: timid, cheap: expensive"
    ),
)

AUTHOR = Relation(
    "author",
    (
        "Who wrote {e}?",
        "Who is the author of {e}?",
        "Name the writer of {e}.",
        "{e} was written by whom?",
        "Tell me who wrote {e}.",
        "Which author gave us {e}?",
        "I am reading {e}. Who wrote it?",
        "{e}: who is the writer?",
    ),
    _table(
        "Hamlet: Shakespeare, Faust: Goethe, Ulysses: Joyce, Emma: Austen, Dracula: Stoker, Frankenstein: Shelley,"
        "Don Quixote: Cervantes, War and Peace: Tolstoy, Moby Dick: Melville, Walden: Thoreau, Oliver Twist: Dickens,"
        "The Trial: Kafka, The Stranger: Camus, Candide: Voltaire, The Odyssey: Homer, The Aeneid: Virgil"
    ),
)

LANGUAGE = Relation(
    "thank_you",
    (
        "In which language does one say {e} for thank you?",
        "{e} means thank you in which language?",
        "A guest says {e}. Which language is that?",
        "Which language has the word {e}?",
        "Name the language of the word {e}.",
        "To which language does {e} belong?",
        "I heard {e}. What language was it?",
        "The word {e}: which language is it?",
    ),
    _table(
        "merci: French, danke: German, gracias: Spanish, grazie: Italian, obrigado: Portuguese, tack: Swedish,"
        "kiitos: Finnish, spasibo: Russian, arigato: Japanese, xiexie: Chinese, asante: Swahili, shukran: Arabic,"
        "toda: Hebrew, efcharisto: Greek, dziekuje: Polish, mahalo: Hawaiian"
    ),
)

HOME = Relation(
    "home",
    (
        "Where does a {e} live?",
        "What is the home of a {e} called?",
        "Name the home of a {e}.",
        "A {e} sleeps in what?",
        "Tell me where a {e} lives.",
        "What kind of home has a {e}?",
        "Which place is home to a {e}?",
        "I am looking for a {e}. Where would it be?",
    ),
    _table(
        "bee: hive, bird: nest, spider: web, bear: den, rabbit: burrow, horse: stable, dog: kennel, pig: sty,"
        "hen: coop, beaver: lodge, king: palace, monk: monastery, soldier: barracks, prisoner: cell, gnome: garden"
    ),
)

INVENTOR = Relation(
    "inventor",
    (
        "Who is known for {e}?",
        "With whom do we connect {e}?",
        "Name the person behind {e}.",
        "Who gave the world {e}?",
        "Tell me who is famous for {e}.",
        "{e}: whose work was it?",
        "Which person do we thank for {e}?",
        "My book is about {e}. Whose name should I look for?",
    ),
    _table(
        "the telephone: Bell, the light bulb: Edison, dynamite: Nobel, the law of gravity: Newton,"
        "relativity: Einstein, radium: Curie, penicillin: Fleming, evolution: Darwin, the battery: Volta,"
        "the printing press: Gutenberg, the steam engine: Watt, radio: Marconi,"
        "the diesel engine: Diesel, pasteurised milk: Pasteur"
    ),
)

RELATIONS: dict[str, Relation] = {
    relation.name: relation for relation in (CAPITAL, YOUNG, SYMBOL, OPPOSITE, AUTHOR, LANGUAGE, HOME, INVENTOR)
}


FRAMES = ("It is {a}.", "That is {a}.", "The answer is {a}.", "I would say {a}.", "It must be {a}, of course.")


def block(rng: Random, part: Part) -> Block:
    """Four facts of one relation."""
    # Relations weigh by their number of facts, so that every fact is as frequent as every other.
    relation = rng.choices(list(RELATIONS.values()), [len(r.answers) for r in RELATIONS.values()])[0]
    entities = rng.sample(sorted(relation.answers), BLOCK_SIZE)
    frame = rng.choice(FRAMES)
    return tuple(
        Item(
            pick(rng, relation.wordings, f"{relation.name}/{entity}", part).format(e=entity),
            frame.format(a=relation.answers[entity]),
        )
        for entity in entities
    )


def verify(prompt: str, response: str) -> bool:
    """Whether `response` gives the answer that the fact table has for the question in `prompt`."""
    for relation in RELATIONS.values():
        for asked in readings(prompt, relation.wordings):
            if answer := relation.answers.get(asked["e"]):
                return response in {frame.format(a=answer) for frame in FRAMES}
    raise ValueError(f"no fact is asked for in {prompt!r}")
