"""What the tabs of the demo answer, and which of them a model has; without Gradio."""

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch

from bert_lightning.demo import pretrained_tabs
from bert_lightning.demo.answers import Answer, Line, Pictures, Tab
from bert_lightning.demo.html import answer_html
from bert_lightning.demo.subjects import Subject, read_subject, tabs_of
from bert_lightning.pictures.similarity import places_figure, similarity_figure

FILL, NEXT, WORD, ATTENTION = pretrained_tabs.TABS
CRANES = "The crane is flying.\nthe crane driver came\n\nhe just left the Crane"
SaveHf = Callable[..., Path]


@pytest.fixture
def subject(save_hf: SaveHf, tmp_path: Path) -> Subject:
    return read_subject(str(save_hf(tmp_path / "bert")))


def words(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", html))


def rows(html: str) -> list[tuple[str, float]]:
    """The names and the percentages of bars."""
    found = re.findall(r'class="name[^>]*>([^<]*)</span><span[^>]*>([\d.]+)%', html)
    return [(unescape(name), float(percent)) for name, percent in found]


def test_fill_shows_what_the_model_says_and_the_rest(subject: Subject) -> None:
    shown = rows(subject.reply(FILL, "the [MASK] is flying"))
    fills = subject.bert.fill_mask("the [MASK] is flying", 10)
    expected = [(fill.token, round(100 * fill.probability, 1)) for fill in fills]
    assert shown[:-1] == expected
    assert shown[-1][0] == "all other words"
    assert sum(percent for _, percent in shown) == pytest.approx(100, abs=0.6)


def test_next_sentence_shows_both_answers(subject: Subject) -> None:
    shown = rows(subject.reply(NEXT, "the crane is flying", "he left"))
    follows = 100 * subject.bert.is_next("the crane is flying", "he left")
    assert [name for name, _ in shown] == ["B follows A", "B is from elsewhere"]
    assert [percent for _, percent in shown] == pytest.approx([follows, 100 - follows], abs=0.06)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_word_is_compared_in_the_layer_that_is_asked(subject: Subject, layer: int) -> None:
    shown = WORD.answer(subject.bert, "crane", CRANES, layer).shown
    assert isinstance(shown, Pictures)
    matrix, places = (figure.axes[0] for figure in shown.figures)
    sentences = [line for line in CRANES.splitlines() if line]
    assert [label.get_text() for label in matrix.get_yticklabels()] == [
        f"{sentence}  {place}" for place, sentence in enumerate(sentences, start=1)
    ]
    cosine = subject.bert.similarity("crane", sentences[0], sentences[1], layer=layer)
    assert f"{cosine:.2f}" in {text.get_text() for text in matrix.texts}
    assert f"layer {layer}" in places.get_title()
    assert [text.get_text() for text in places.texts] == ["1", "2", "3"]


def test_the_axes_say_how_much_of_the_variance_they_show() -> None:
    line = torch.tensor([[0.0, 0, 5, 1], [3, 0, 5, 1], [6, 0, 5, 1]])
    axes = places_figure(line, 1).axes[0]
    assert axes.get_xlabel() == "component 1: 100% of the variance"
    assert axes.get_ylabel() == "component 2: 0% of the variance"


def test_a_long_text_is_labelled_by_what_stands_around_the_word() -> None:
    text = f"{'so ' * 30}the crane $flies$ {'on ' * 30}"
    (label, *_) = similarity_figure(torch.eye(2), [text, "a"], "crane").axes[0].get_yticklabels()
    assert "the crane $flies$" in label.get_text()
    assert label.get_text().startswith("…")
    assert not label.get_parse_math()


@pytest.mark.parametrize(
    ("tab", "given", "message"),
    [
        (FILL, ["the crane is flying"], "The text has no [MASK]: write [MASK] where a word is"),
        (
            FILL,
            ["the [MASK] is [MASK]"],
            "The text has [MASK] 2 times, but one is filled at a time",
        ),
        (FILL, ["  "], "The text is empty: it needs at least one word"),
        (NEXT, ["the crane", " "], "The second text is empty: it needs at least one word"),
        (WORD, ["", CRANES, 1], "No word is given: write one that is in every sentence"),
        (WORD, ["crane", "the crane\n", 1], "1 sentence is given: write two or more, one in each"),
        (WORD, ["crane", "\n", 1], "No sentence is given: write two or more"),
        (WORD, ["crane", "the crane\n" * 25, 1], "25 sentences are given, and 24 at most can be"),
        (ATTENTION, [" ", "he left"], "The first text is empty: it needs at least one word"),
        (WORD, ["crane", "the crane\nthe driver", 1], "Sentence 2: 'crane' is not in the text"),
    ],
)
def test_what_cannot_be_answered_is_said_in_the_page(
    subject: Subject, tab: Tab, given: list[Any], message: str
) -> None:
    html = subject.reply(tab, *given)
    assert 'role="alert"' in html
    assert message in words(html)
    assert "--truncate" not in html


def test_a_text_that_is_too_long_is_cut_and_says_so(subject: Subject) -> None:
    long = "the [MASK] is flying " + "the crane left " * 20
    note = "The text has 66 tokens with [CLS] and [SEP], and the model reads 32: the rest is left"
    html = subject.reply(FILL, long)
    assert note in words(html)
    assert rows(html)
    assert "and the model reads 32" in words(subject.reply(NEXT, long, "he left"))
    assert "cut around the word: 1." in words(
        subject.reply(WORD, "driver", f"{long} driver\na driver", 0)
    )


@pytest.mark.parametrize("second", ["he left", " "])
def test_attention_has_a_panel_for_each_layer_and_head(subject: Subject, second: str) -> None:
    shown = ATTENTION.answer(subject.bert, "the crane is flying", second).shown
    assert isinstance(shown, Pictures)
    (figure,) = shown.figures
    config = subject.bert.model.config
    panels = [axes for axes in figure.axes if axes.get_images() and axes.get_subplotspec()]
    assert len(panels) >= config.num_hidden_layers * config.num_attention_heads
    assert ("second text" in {text.get_text() for text in figure.legends[0].texts}) is (
        second == "he left"
    )


def test_words_that_the_tokenizer_does_not_know_are_named(subject: Subject) -> None:
    html = subject.reply(NEXT, "the 鶴 is flying", "he left")
    assert "Not in the vocabulary, and read as [UNK]: '鶴'." in words(html)
    assert "[UNK]" not in words(subject.reply(NEXT, "the crane is flying", "he left"))


def test_text_is_shown_as_text() -> None:
    assert "<b>" not in answer_html(Answer(Line("<b>"), ["<b>"]))


def test_a_bare_encoder_has_no_tabs_of_heads_and_says_why(save_hf: SaveHf, tmp_path: Path) -> None:
    bare = read_subject(str(save_hf(tmp_path / "bare", "BertModel")))
    titles = [tab.title for tab in tabs_of([bare])]
    assert FILL.title not in titles
    assert NEXT.title not in titles
    assert WORD.title in titles
    assert (
        f"*{FILL.title}* is not for this model: it has no masked-language-model head."
        in bare.described
    )

    whole = read_subject(str(save_hf(tmp_path / "whole")))
    assert FILL in tabs_of([bare, whole])


@pytest.mark.parametrize(
    ("cls", "title", "given"),
    [
        ("BertForSequenceClassification", "Classify", ["the crane is flying"]),
        ("BertForTokenClassification", "Tag words", ["the crane is flying"]),
        ("BertForMultipleChoice", "Choose", ["the crane is flying\nthe driver left"]),
        ("BertForQuestionAnswering", "Answer", ["who came", "the crane driver came ."]),
    ],
)
def test_a_fine_tuned_model_has_the_tab_of_its_task(
    save_hf: SaveHf, tmp_path: Path, cls: str, title: str, given: list[str]
) -> None:
    names = {0: "bird", 1: "machine"}
    extra = {} if cls == "BertForQuestionAnswering" else {"id2label": names}
    subject = read_subject(str(save_hf(tmp_path / "task", cls, **extra)))
    tab, *others = tabs_of([subject])
    assert tab.title == title
    assert [other.title for other in others[:1]] == [WORD.title]
    html = subject.reply(tab, *given)
    assert 'role="alert"' not in html, html
    assert subject.task is not None
    if title == "Classify":
        (expected,) = subject.task.probabilities(given)
        assert dict(rows(html)) == {
            name: pytest.approx(100 * probability, abs=0.06)
            for name, probability in expected.items()
        }
    elif title == "Tag words":
        for word, label in subject.task.tag(given[0]):
            assert f"{word} {label}" in " ".join(words(html).split())
    elif title == "Choose":
        assert rows(html)[0][0] == subject.task.choose(*given[0].splitlines()).label
    else:
        assert subject.task.answer(*given).text in words(html)
