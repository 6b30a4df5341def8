"""The two subsets whose answers are facts: Factuality and Ties, with the tables that they ask about.

    factuality_block(rng, part), ties_block(rng, part)      blocks of a random stream and a part
    couples(rng, count)                                     the held-out questions of Ties: `ref` and `tied`

The tables are written for this project: plain school knowledge. Held out are wordings: every fact, category and clue is
trained in three quarters of its wordings, and asked in the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from rewardsmith.samples.blocks import BLOCK_SIZE, Block, Item, Part, options_of, pick, swap_rows


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact: how it is asked (`{e}` is the entity), and the answer for each entity.

    The answers within a relation are all different, so that the answer of one entity is a false answer for every other.
    """

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


FACT_FRAMES = ("It is {a}.", "That is {a}.", "The answer is {a}.", "I would say {a}.", "It must be {a}, of course.")


def factuality_block(rng: Random, part: Part) -> Block:
    """Four facts of one relation, each with one true answer that is false for the others."""
    # Relations weigh by their number of facts, so that every fact is as frequent as every other.
    relation = rng.choices(list(RELATIONS.values()), [len(r.answers) for r in RELATIONS.values()])[0]
    entities = rng.sample(sorted(relation.answers), BLOCK_SIZE)
    frame = rng.choice(FACT_FRAMES)
    return tuple(
        Item(
            pick(rng, relation.wordings, f"{relation.name}/{entity}", part).format(e=entity),
            frame.format(a=relation.answers[entity]),
        )
        for entity in entities
    )


@dataclass(frozen=True, slots=True)
class Category:
    """What belongs to a noun; `clues` points at single members: member → clue.

    No name is a member of two categories, so a member of one is a wrong answer for every other.
    """

    members: tuple[str, ...]
    clues: dict[str, str]


# noun | members without a clue | member: clue; ...
_TABLE = """
a day of the week | Thursday, Friday, Saturday | Monday: the day after Sunday; Tuesday: the day after Monday; \
Wednesday: the middle of the week; Sunday: the day of rest
a month | March, April, June, October | January: the first month; February: the shortest month; July: the seventh \
month; December: the last month
a planet | Earth, Uranus | Mercury: the planet nearest to the sun; Mars: the red planet; Jupiter: the largest \
planet; Saturn: the planet with bright rings; Neptune: the planet farthest from the sun
a continent | Europe, America | Africa: the continent with the Sahara; Asia: the largest continent; Australia: the \
continent of koalas; Antarctica: the continent at the south pole
a colour | orange, brown, pink | red: the colour of blood; green: the colour of grass; white: the colour of milk; \
black: the colour of coal
a metal | nickel, chromium, cobalt | iron: the metal that rusts; gold: the metal of wedding rings; copper: the \
metal of electric wires; mercury: the liquid metal; aluminium: the light metal of cans
a fruit | pear, plum, cherry | apple: the fruit of cider; grape: the fruit of wine; banana: the fruit that monkeys \
peel; lemon: the sour yellow fruit
a vegetable | leek, celery, turnip | carrot: the orange root that rabbits eat; onion: the bulb that makes you cry; \
potato: the tuber for chips; pumpkin: the lantern of Halloween
a mammal | wolf, mouse, goat | elephant: the animal with a trunk; giraffe: the animal with the longest neck; whale: \
the largest animal of the sea; zebra: the animal with stripes; camel: the animal with humps
a bird | sparrow, robin, goose | owl: the bird that hunts at night; penguin: the bird that swims in ice water; \
parrot: the bird that learns to speak; ostrich: the largest bird
a fish | trout, herring, tuna | shark: the fish with the sharpest teeth; salmon: the fish that leaps upstream; eel: \
the fish shaped like a snake; piranha: the biting fish of the Amazon
an insect | moth, beetle, wasp | bee: the maker of honey; ant: the tiny builder of hills; mosquito: the bloodsucker \
of summer nights; ladybird: the red insect with black dots
a tree | maple, elm, ash | oak: the tree of acorns; pine: the tree of cones; palm: the tree of coconuts; willow: \
the tree that weeps
a flower | orchid, lily, poppy | rose: the flower with thorns; tulip: the flower of Holland; sunflower: the flower \
that follows the sun; daisy: the flower for asking who loves me
an instrument | flute, guitar, cello | piano: the instrument with black and white keys; drum: the instrument for \
sticks; harp: the instrument of angels; organ: the instrument of churches
a vehicle | truck, car, bus | bicycle: the thing with two wheels and pedals; train: the thing that runs on rails; \
submarine: the thing that dives; helicopter: the thing with a rotor
a tool | drill, chisel, pliers | hammer: the tool for nails; saw: the tool for boards; spade: the tool for digging; \
axe: the tool of woodcutters
a sport | golf, rugby, judo | tennis: the sport of Wimbledon; boxing: the sport of the ring; cycling: the sport of \
the Tour de France; swimming: the sport of the pool
a garment | shirt, skirt, coat | glove: the garment for a hand; hat: the garment for a head; sock: the garment for \
a foot; scarf: the garment for a neck
a drink | juice, beer, cocoa | tea: the drink of leaves; coffee: the drink of roasted beans; water: the drink from \
the tap; champagne: the drink of New Year
""".strip()


def _parse(line: str) -> tuple[str, Category]:
    noun, others, clues = line.split(" | ")
    clue_of = dict(clue.split(": ") for clue in clues.split("; "))
    return noun, Category((*clue_of, *others.split(", ")), clue_of)


CATEGORIES: dict[str, Category] = dict(_parse(line) for line in _TABLE.splitlines())


ANY_WORDINGS = (
    "Name {c}.",
    "Give me one example of {c}.",
    "What would be {c}?",
    "I need {c}. Which?",
    "Think of {c}.",
    "Which word names {c}?",
    "Tell me {c}, any will do.",
    "I am looking for {c}.",
)
CLUE_WORDINGS = (
    "Which one is {q}?",
    "What do we call {q}?",
    "I mean {q}. What is it?",
    "What could it be: {q}?",
    "Please name {q} for me.",
    "Guess: {q}.",
    "Can you name {q}?",
    "We look for {q}. Which is it?",
)
TIES_FRAMES = ("It could be {a}.", "Perhaps {a}.", "I choose {a}.", "My answer is {a}.", "I suppose {a} fits.")
# Right completions of a tied row, and as many wrong ones.
TIED_CORRECT = 3


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt with its right and its wrong completions."""

    prompt: str
    correct: tuple[str, ...]
    incorrect: tuple[str, ...]


def ties_block(rng: Random, part: Part) -> Block:
    """Training form: members of four categories, or two clues about each of two categories."""
    if rng.random() < 0.5:
        return _clue_block(rng, rng.sample(sorted(CATEGORIES), 2), part)
    frame = rng.choice(TIES_FRAMES)
    return tuple(
        Item(pick(rng, ANY_WORDINGS, n, part).format(c=n), frame.format(a=rng.choice(CATEGORIES[n].members)))
        for n in rng.sample(sorted(CATEGORIES), BLOCK_SIZE)
    )


def couples(rng: Random, count: int) -> list[tuple[Question, Question]]:
    """`count` couples `(ref, tied)` of held-out questions about one category each; all prompts differ.

    `tied` asks for any member of a category and has several right completions; `ref` asks, about the same category, for
    the one member that fits a clue. Wrong completions of a tied row are members of another category, and right in that
    category's own row; wrong completions of a ref row are right in the three other rows of its block.

    Two categories give four couples, so `count` is a multiple of 4 and at most `2 * len(CATEGORIES)`.
    """
    nouns = rng.sample(sorted(CATEGORIES), len(CATEGORIES))
    groups = [nouns[i : i + 2] for i in range(0, count // 2, 2)]
    return [couple for group in groups for couple in _couples(rng, group)]


def _couples(rng: Random, nouns: list[str]) -> Iterator[tuple[Question, Question]]:
    """Four couples about two categories, whose members are each other's wrong answers."""
    refs = list(swap_rows(_clue_block(rng, nouns, "held_out")))
    wordings = {noun: options_of(ANY_WORDINGS, noun, "held_out")[:2] for noun in nouns}
    for turn in range(2):
        frame = rng.choice(TIES_FRAMES)
        said = {n: tuple(frame.format(a=m) for m in rng.sample(CATEGORIES[n].members, TIED_CORRECT)) for n in nouns}
        for noun, other, ref in zip(nouns, nouns[::-1], (refs[turn], refs[2 + turn]), strict=True):
            prompt, right, wrong = ref
            yield (
                Question(prompt, (right,), wrong),
                Question(wordings[noun][turn].format(c=noun), said[noun], said[other]),
            )


def _clue_block(rng: Random, nouns: list[str], part: Part) -> Block:
    """Two clues about each of two categories, the first category first."""
    frame = rng.choice(TIES_FRAMES)
    items = []
    for noun in nouns:
        clues = CATEGORIES[noun].clues
        for member in rng.sample(sorted(clues), 2):
            prompt = pick(rng, CLUE_WORDINGS, clues[member], part).format(q=clues[member])
            items.append(Item(prompt, frame.format(a=member)))
    return tuple(items)
