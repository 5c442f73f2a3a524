"""What a pretrained model is asked: words for a `[MASK]`, the next sentence, a word in context."""

from pathlib import Path

from bert_lightning.batch import MASK
from bert_lightning.demo.answers import Answer, Field, Pictures, Probabilities, Tab, notes_on
from bert_lightning.errors import UserError
from bert_lightning.evaluation.sense_files import Occurrence
from bert_lightning.evaluation.senses import word_vectors
from bert_lightning.inference.loaded import PretrainedBert

_WORDS = 10
MOST_SENTENCES = 24
"""Rows of a matrix that can be read."""
MOST_TOKENS = 40
"""Rows of the small matrix of a head that can be read."""


def fill(bert: PretrainedBert, text: str) -> Answer:
    """Returns the likeliest words for the `[MASK]` of a text."""
    notes = notes_on(bert, [text])
    if MASK not in text:
        raise UserError(f"the text has no {MASK}: write {MASK} where a word is missing")
    found = bert.fill_mask(text, _WORDS, truncate=True)
    return Answer(Probabilities(found, "all other words"), notes)


def follow(bert: PretrainedBert, first: str, second: str) -> Answer:
    """Returns how probable it is that the second text follows the first."""
    follows = bert.is_next(first, second, truncate=True)
    rows = [("B follows A", follows), ("B is from elsewhere", 1 - follows)]
    return Answer(Probabilities(rows), notes_on(bert, [(first, second)]))


def word_in_context(bert: PretrainedBert, word: str, lines: str, layer: int) -> Answer:
    """Draws the cosines of a word's vectors in several sentences, and the vectors themselves."""
    from bert_lightning.pictures.similarity import places_figure, similarity_figure

    sentences = [line.strip() for line in lines.splitlines() if line.strip()]
    if not word.strip():
        raise UserError("no word is given: write one that is in every sentence")
    if len(sentences) < 2:
        raise UserError(
            f"{len(sentences) or 'no'} sentence is given: write two or more, one in each line"
        )
    if len(sentences) > MOST_SENTENCES:
        raise UserError(
            f"{len(sentences)} sentences are given, and {MOST_SENTENCES} at most can be drawn: "
            "take some out, or compare all of them with: bert-lightning senses"
        )
    found = word_vectors(
        bert,
        word,
        [
            Occurrence(sentence, None, None, f"sentence {place}")
            for place, sentence in enumerate(sentences, start=1)
        ],
    )
    notes = []
    if found.cut:
        notes.append(f"Sentences longer than the model reads, cut around the word: {found.cut}.")
    if found.unknown:
        notes.append(
            f"Sentences in which the word is [UNK] to the tokenizer, so that the model sees only "
            f"the words around it: {found.unknown}."
        )
    vectors = found.vectors[layer]
    figures = [similarity_figure(vectors, sentences, word), places_figure(vectors, layer)]
    return Answer(Pictures(figures), notes)


def attend(bert: PretrainedBert, first: str, second: str) -> Answer:
    """Draws how much each token of a text, or of a pair, takes from each other."""
    from bert_lightning.pictures.attention_maps import attention_figure

    pair = (first, second) if second.strip() else (first,)
    notes = notes_on(bert, [(first, second) if second.strip() else first])
    found = bert.attention(*pair, truncate=True)
    if len(found.tokens) > MOST_TOKENS:
        raise UserError(
            f"{len(found.tokens)} tokens with [CLS] and [SEP] are given, and {MOST_TOKENS} at most "
            "can be told apart in a picture: shorten the texts"
        )
    return Answer(Pictures([attention_figure(found, Path(bert.origin).name)]), notes)


TABS = (
    Tab(
        "Fill [MASK]",
        "Which words may stand in place of `[MASK]`, and how probable is each?",
        [Field("A text with one [MASK]", "the [MASK] lifted the steel beams onto the bridge")],
        fill,
        heads=frozenset({"mlm_head"}),
    ),
    Tab(
        "Next sentence",
        "Does text B follow text A, or is it from elsewhere? In training half of the pairs follow.",
        [
            Field("A", "the crane lifted the steel beams"),
            Field("B", "its driver sat high above the bridge"),
        ],
        follow,
        heads=frozenset({"pooler", "nsp_head"}),
    ),
    Tab(
        "Word in context",
        "Is a word's vector another one in another context? Its cosine is 1 where two vectors "
        "point in the same direction; compare cosines within one layer.",
        [
            Field("A word", "crane"),
            Field(
                "Sentences with this word, one in each line",
                "The crane spread its wings and flew over the lake.\n"
                "A crane stood on one leg in the shallow water.\n"
                "The white crane built its nest among the reeds.\n"
                "The crane lifted the steel beams onto the roof.\n"
                "A crane unloaded the ship in the harbor.\n"
                "The driver of the crane moved the heavy concrete blocks.",
                6,
            ),
        ],
        word_in_context,
        has_layer=True,
    ),
    Tab(
        "Attention",
        "How much does each token, a row, take from each other token, a column? Each layer has a "
        "row of small pictures, and each of its heads a column.",
        [
            Field("A", "the crane lifted the steel beams"),
            Field("B, or nothing", "its driver sat high above"),
        ],
        attend,
    ),
)
