"""What a fine-tuned model is asked, by the kind of its task."""

from bert_lightning.config.task import TaskKind
from bert_lightning.demo.answers import (
    Answer,
    Field,
    Labelled,
    Line,
    Pictures,
    Probabilities,
    Tab,
    notes_on,
)
from bert_lightning.errors import UserError
from bert_lightning.finetuning.predict import FineTunedBert
from bert_lightning.inference.represent import Text

_MOST_CLASSES = 20
_MOST_TEXTS = 24
"""Rows of a matrix that can be read."""


def _classify(model: FineTunedBert, *texts: str) -> Answer:
    """Returns the probability of each class of a text, or of two."""
    text: Text = texts[0] if len(texts) == 1 else (texts[0], texts[1])
    (found,) = model.probabilities([text], truncate=True)
    rows = sorted(found.items(), key=lambda one: -one[1])
    rest = "all other classes" if len(rows) > _MOST_CLASSES else ""
    return Answer(Probabilities(rows[:_MOST_CLASSES], rest), notes_on(model, [text]))


def _score(model: FineTunedBert, first: str, second: str) -> Answer:
    """Returns the number of a text, or of two."""
    text: Text = (first, second) if second.strip() else first
    (found,) = model.score_many([text], truncate=True)
    return Answer(Line(f"{found:.4g}"), notes_on(model, [text]))


def _tag(model: FineTunedBert, text: str) -> Answer:
    """Returns each word with its label; `O` is the label of words outside of all entities."""
    if not text.strip():
        raise UserError("the text is empty: it needs at least one word")
    words = [(word, "" if label == "O" else label) for word, label in model.tag(text)]
    return Answer(Labelled([part for word in words for part in (word, (" ", ""))]))


def _choose(model: FineTunedBert, lines: str) -> Answer:
    """Returns the text that is right."""
    texts = _lines(lines)
    found = model.choose(*texts, truncate=True)
    return Answer(Probabilities([found], "the others"), notes_on(model, texts))


def _compare(model: FineTunedBert, lines: str) -> Answer:
    """Draws the cosines of the vectors of texts."""
    from bert_lightning.pictures.similarity import similarity_figure

    texts = _lines(lines)
    if not 2 <= len(texts) <= _MOST_TEXTS:
        raise UserError(f"{len(texts)} texts are given: write 2 to {_MOST_TEXTS}, one in each line")
    vectors = model.encode(texts, truncate=True)
    return Answer(Pictures([similarity_figure(vectors, texts)]), notes_on(model, texts))


def _answer(model: FineTunedBert, question: str, context: str) -> Answer:
    """Returns the context with the answer marked."""
    found = model.answer(question, context)
    if not found.text:
        return Answer(Line(f"The text has no answer ({found.probability:.0%})."))
    parts = [
        (context[: found.start], ""),
        (found.text, f"{found.probability:.0%}"),
        (context[found.end :], ""),
    ]
    return Answer(Labelled([part for part in parts if part[0]]))


def _lines(lines: str) -> list[str]:
    return [line.strip() for line in lines.splitlines() if line.strip()]


_CRANE = "The crane lifted the steel beams onto the roof."
TABS = (
    Tab(
        "Classify",
        "Which class does a text belong to, and how probable is each?",
        [Field("A text", _CRANE, 3)],
        _classify,
        task=TaskKind.text,
    ),
    Tab(
        "Classify a pair",
        "Which class do two texts belong to, and how probable is each?",
        [Field("First text", _CRANE, 2), Field("Second text", "A machine was at work.", 2)],
        _classify,
        task=TaskKind.pair,
    ),
    Tab(
        "Score",
        "Which number does a text get, or a pair of texts?",
        [Field("A text", _CRANE, 2), Field("A second text, for a model of pairs", "", 2)],
        _score,
        task=TaskKind.number,
    ),
    Tab(
        "Tag words",
        "Which label does each word get? Words are divided at spaces.",
        [Field("A text", "The crane driver came from Rotterdam to New York .", 3)],
        _tag,
        task=TaskKind.tokens,
    ),
    Tab(
        "Choose",
        "Which of these texts is right?",
        [
            Field(
                "Two texts or more, one in each line",
                "The crane is flying.\nThe crane are flying.",
                4,
            )
        ],
        _choose,
        task=TaskKind.choice,
    ),
    Tab(
        "Compare texts",
        "How similar are texts? The cosine is 1 where two vectors point in the same direction.",
        [
            Field(
                "Texts, one in each line",
                "A crane flies over the lake.\n"
                "A large bird is in the air above the water.\n"
                "The crane lifts steel beams.\n"
                "Heavy loads are moved at the building site.",
                5,
            )
        ],
        _compare,
        task=TaskKind.sentence,
    ),
    Tab(
        "Answer",
        "Which words of a text answer a question? A long text is read in parts.",
        [
            Field("A question", "What did the crane lift?"),
            Field("A text", f"{_CRANE} Its driver sat high above the bridge.", 5),
        ],
        _answer,
        task=TaskKind.question,
    ),
)
"""One for each kind of task."""
