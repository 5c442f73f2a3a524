"""The built-in corpus is prose, all of it, and no paragraph stands in it twice."""

import re
import sys

import pytest

from bert_lightning.corpus.readers.builtin import builtin_documents
from bert_lightning.corpus.sentences import split_prose
from bert_lightning.errors import UserError

pydoc_topics = pytest.importorskip("pydoc_data.topics")

RENDERED = """\
The "with" statement
********************

The "with" statement wraps the execution of a block with methods
defined by a *context manager* (see section With Statement Context
Managers).  It is a well-
known statement.  [1]

   with_stmt: "with" ( "(" with_stmt_contents ","? ")" ) ":" suite
   with_item: expression ["as" target]

   with_stmt ::= "with" with_item ("," with_item)* ":" suite

The following code:

   with EXPRESSION as TARGET:
       SUITE

is semantically equivalent to:

   manager = (EXPRESSION)
   value = manager.__enter__()

>>> with open("the file") as this:
...     this.read()

def f(x): return x

   if penguin is not None and penguin in zoo:

   with A() as a, B() as b:

   # This is a comment on the program, and it ends with a full stop.

   a[0] + b[1] * c[2] is the x/2 - y/3 or z->4 and d{5} to be {6}, {7}.

Scope of names
==============

object.__exit__(self, exc_type, exc_value, traceback)

   Exit the runtime context related to this object. The method\u2019s
   \u201cresult\u201d tells whether the exception is swallowed.

   * An item of the list that is wrapped over two lines,
     as this one is.

   2. Another item, which has a number and is prose.

   **PEP 343** - The "with" statement
      The specification for the Python "with"
      statement.

+-----------+---------------------------+
| Option    | Meaning of it             |
+===========+===========================+
| "a"       | This is the first one.    |
+-----------+---------------------------+

========  =============================
Value     The meaning of this value.
========  =============================

-[ Footnotes ]-

[1] The footnotes are prose as well.
"""

PROSE = [
    'The "with" statement wraps the execution of a block with methods defined by a context manager '
    "(see section With Statement Context Managers). It is a well-known statement.",
    "is semantically equivalent to:",
    'Exit the runtime context related to this object. The method\'s "result" tells whether the '
    "exception is swallowed.",
    "An item of the list that is wrapped over two lines, as this one is.",
    "Another item, which has a number and is prose.",
    'The specification for the Python "with" statement.',
    "The footnotes are prose as well.",
]


@pytest.fixture(scope="module")
def documents() -> list[list[str]]:
    return builtin_documents()


def test_prose_is_kept_and_all_else_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydoc_topics, "topics", {"with": RENDERED})
    assert builtin_documents() == [PROSE]


def test_a_paragraph_stays_in_the_first_topic_only(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = {
        "b": "This is in both of the\ntopics.\n\nThis is in the second of the topics.\n",
        "c": "\n   This is in both  of\n   the topics.\n",
        "a": "This is in both of the topics.\n",
    }
    monkeypatch.setattr(pydoc_topics, "topics", topics)
    assert builtin_documents() == [
        ["This is in both of the topics."],
        ["This is in the second of the topics."],
    ]


def test_a_python_without_its_manual_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UserError, match=r"pydoc_data.*data=text data\.path=FILE"):
        builtin_documents()


def test_size(documents: list[list[str]]) -> None:
    words = sum(len(paragraph.split()) for document in documents for paragraph in document)
    pairs = sum(len(split_prose(paragraph)) - 1 for document in documents for paragraph in document)
    assert 35_000 <= words <= 65_000
    assert pairs >= 1_000
    assert len(documents) >= 50
    assert all(documents)


def test_it_is_the_same_each_time(documents: list[list[str]]) -> None:
    assert builtin_documents() == documents


def test_no_paragraph_stands_twice(documents: list[list[str]]) -> None:
    paragraphs = [paragraph for document in documents for paragraph in document]
    assert len(set(paragraphs)) == len(paragraphs)


def test_paragraphs_are_single_lines_with_plain_quotes(documents: list[list[str]]) -> None:
    for document in documents:
        for paragraph in document:
            assert paragraph == " ".join(paragraph.split())
            assert not set(paragraph) & set("\u2018\u2019\u201c\u201d")


@pytest.mark.parametrize(
    "pattern",
    [
        r">>>",
        r"^\.\.\.",
        r"::=",
        r"^\w+: +\"",
        r"\*{3}|={3}|~{3}|-{3}|\+--",
        r"\bdef \w+\([^)]*\):",
        r"^(?:import|from|class|def|return|print)\b.*[(=]",
        r"^\w+ = |\w\(\) as \w",
        r"^[*-] |^\d+\. |^\[\d+\]",
        r"^[\w.]+\([^)]*\)$",
        r"(?<![\w*])\*\w+ \w+\*(?![\w*])",
    ],
)
def test_nothing_but_prose_came_along(documents: list[list[str]], pattern: str) -> None:
    """Code in quotation marks, as in "a = 1", is part of a sentence and may stay."""
    for document in documents:
        for paragraph in document:
            unquoted = re.sub(r'"[^"]*"', "", paragraph)
            assert not re.search(pattern, unquoted), paragraph


@pytest.mark.parametrize(
    "start",
    [
        "Called when the instance is about to be destroyed.",
        "Return a copy of the string with its first character capitalized",
        "The default behavior for equality comparison",
        "If the target is an attribute reference: The primary expression",
    ],
)
def test_known_paragraphs_are_there(documents: list[list[str]], start: str) -> None:
    found = [p for document in documents for p in document if p.startswith(start)]
    assert len(found) == 1
