"""Answers as HTML: bars, marked words, figures and messages."""

import base64
from functools import singledispatch
from html import escape
from typing import TYPE_CHECKING

from bert_lightning.demo.answers import Answer, Labelled, Line, Pictures, Probabilities

if TYPE_CHECKING:
    from bert_lightning.pictures.style import Picture

STYLE = """
.ask { max-width: 12rem; }
.answer { font-size: 1rem; line-height: 1.5; }
.answer .bars { display: grid; grid-template-columns: max-content max-content 1fr;
  gap: 0.35rem 0.9rem; align-items: center; max-width: 44rem; }
.answer .number { text-align: right; font-variant-numeric: tabular-nums; }
.answer .bar { height: 0.8rem; border-radius: 0.2rem; background: var(--color-accent);
  min-width: 1px; }
.answer .rest { opacity: 0.5; }
.answer mark { background: var(--color-accent-soft); color: inherit; border-radius: 0.25rem;
  padding: 0.1rem 0.3rem; box-decoration-break: clone; }
.answer mark small { font-weight: 600; margin-left: 0.35rem; color: var(--color-accent); }
.answer .text { white-space: pre-wrap; line-height: 2; }
.answer .line { font-size: 1.5rem; }
.answer .error, .answer .note { border-left: 4px solid; padding: 0.5rem 0.9rem;
  overflow-wrap: anywhere; }
.answer .error { border-color: #c0392b; background: #c0392b1a; }
.answer .note { border-color: #b8860b; background: #b8860b1a; margin-bottom: 0.8rem; }
.answer .figures { display: flex; flex-wrap: wrap; gap: 0.5rem; }
.answer .figures img { flex: 1 1 26rem; min-width: 0; max-width: 40rem; background: white;
  border-radius: 0.3rem; }
"""


def answer_html(answer: Answer) -> str:
    """Returns an answer, its notes above it."""
    return f'<div class="answer">{"".join(map(_note, answer.notes))}{_shown(answer.shown)}</div>'


def note_html(text: str) -> str:
    """Returns a note in place of an answer."""
    return f'<div class="answer">{_note(text)}</div>'


def error_html(message: str) -> str:
    """Returns a message in place of an answer."""
    text = f"{message[:1].upper()}{message[1:]}."
    return f'<div class="answer"><div class="error" role="alert">{escape(text)}</div></div>'


def _note(text: str) -> str:
    return f'<div class="note">{escape(text)}</div>'


@singledispatch
def _shown(shown: object) -> str:
    raise NotImplementedError(type(shown).__name__)


@_shown.register
def _(shown: Probabilities) -> str:
    rows = [_bar(name, probability) for name, probability in shown.rows]
    if shown.rest:
        remaining = max(0.0, 1 - sum(probability for _, probability in shown.rows))
        rows.append(_bar(shown.rest, remaining, "rest"))
    return f'<div class="bars">{"".join(rows)}</div>'


def _bar(name: str, probability: float, kind: str = "") -> str:
    figure = f'<span class="number {kind}">{probability:.1%}</span>'
    bar = f'<div class="bar {kind}" style="width:{probability:.1%}"></div>'
    return f'<span class="name {kind}">{escape(name)}</span>{figure}<div>{bar}</div>'


@_shown.register
def _(shown: Labelled) -> str:
    parts = (
        f"<mark>{escape(part)}<small>{escape(label)}</small></mark>" if label else escape(part)
        for part, label in shown.parts
    )
    return f'<p class="text">{"".join(parts)}</p>'


@_shown.register
def _(shown: Line) -> str:
    return f'<p class="line">{escape(shown.text)}</p>'


@_shown.register
def _(shown: Pictures) -> str:
    images = "".join(map(_image, shown.figures))
    return f'<div class="figures">{images}</div>'


def _image(picture: "Picture") -> str:
    """Returns a picture as an image of its own, apart from the styles of the page."""
    data = base64.b64encode(picture.svg()).decode()
    title = ", ".join(axes.get_title() for axes in picture.axes if axes.get_title())
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(title)}">'
