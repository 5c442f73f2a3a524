"""Pages: what a reader of a Wikipedia dump and of HTML keeps as paragraphs, and what it omits."""

import bz2
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from reading import documents_of, read, refusal

from bert_lightning.corpus.readers.pages.wikipedia import paragraphs

ARTICLE = """{{Infobox|name = Crane|text = {{nested|A b.}}}}
__NOTOC__
[[File:Crane.jpg|thumb|A crane. It is [[grey]].]]
The '''crane''' is a [[bird|large bird]].<ref name="a">A book. Page 3.</ref> It flies &amp; sings.
It has [[wing]]s ''and'' a beak.<!-- Nobody knows. -->

== Habitat ==
It lives near [https://host.test/water water].<ref name="a"/> It waits<br>there.
* It eats one thing.
** It eats another.
# A first. A second.
: Indented. Again.
{| class="wikitext"
! Head !! Tail
|-
| Long. Thin. || Short.
|}
<gallery>
File:A.jpg|A gallery. Of cranes.
</gallery>
It sleeps. It wakes.
[[Kategorie:Birds]]
"""
KEPT = [
    "The crane is a large bird. It flies & sings.",
    "It has wings and a beak.",
    "It lives near water. It waits there.",
    "It sleeps. It wakes.",
]
PAGE = """<page><title>{title}</title><ns>{ns}</ns><id>1</id>{redirect}{revisions}</page>"""
REVISION = '<revision><id>{id}</id><text xml:space="preserve">{text}</text></revision>'
SITE = """<siteinfo><sitename>W</sitename><dbname>w</dbname><namespaces>
<namespace key="0" case="first-letter"/><namespace key="1" case="first-letter">Talk</namespace>
<namespace key="14" case="first-letter">Kategorie</namespace></namespaces></siteinfo>"""


def page(title: str, *texts: str, ns: int = 0, redirect: str = "") -> str:
    revisions = "".join(REVISION.format(id=n, text=escape(text)) for n, text in enumerate(texts))
    return PAGE.format(title=title, ns=ns, redirect=redirect, revisions=revisions)


def dump(*pages: str) -> str:
    space = 'xmlns="http://www.mediawiki.org/xml/export-0.11/"'
    return (
        f'<mediawiki {space} version="0.11" xml:lang="de">\n{SITE}\n{"".join(pages)}</mediawiki>\n'
    )


class TestWikipedia:
    @pytest.fixture(autouse=True)
    def _packages(self) -> None:
        pytest.importorskip("mwxml", reason="needs the extra wikipedia")
        pytest.importorskip("mwparserfromhell", reason="needs the extra wikipedia")

    def test_markup_is_stripped_and_prose_stays(self) -> None:
        assert paragraphs(ARTICLE, frozenset({"file", "kategorie"})) == KEPT

    @pytest.mark.parametrize("name", ["w.xml", "w.xml.bz2", "pages"])
    def test_articles_are_documents_and_what_is_none_is_counted(
        self, tmp_path: Path, name: str
    ) -> None:
        content = dump(
            page("Crane", "An old text. It goes.", ARTICLE),
            page("Talk:Crane", "It talks. It ends.", ns=1),
            page("Cranes", "#REDIRECT [[Crane]]", redirect='<redirect title="Crane"/>'),
            page("List", "* A b.\n* C d."),
            page("River", "The river is wide. It is old."),
        ).encode()
        middle = content.index(b"<page>")
        parts = (content[:middle], content[middle:])  # as multistream dumps are
        packed = b"".join(map(bz2.compress, parts)) if name.endswith("bz2") else content
        (tmp_path / name).write_bytes(packed)
        (tmp_path / "feed.xml").write_text("<rss></rss>")
        documents, left_out = read(tmp_path)
        assert [[" ".join(found) for found in document] for document in documents] == [
            KEPT,
            ["The river is wide. It is old."],
        ]
        assert left_out == {
            "files of other kinds": 1,
            "pages of other namespaces, such as talk and categories": 1,
            "pages that redirect": 1,
            "articles without a word outside lists, tables and templates": 1,
        }

    def test_the_pages_of_a_dump_are_not_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mwxml.element_iterator import ElementIterator

        roots = []
        begin = ElementIterator.from_file

        def noted(stream: object) -> ElementIterator:
            roots.append(begin(stream))
            return roots[-1]

        monkeypatch.setattr(ElementIterator, "from_file", noted)
        (tmp_path / "w.xml").write_text(dump(*[page("A", "A b. C d.")] * 200))
        assert len(documents_of(tmp_path)) == 200
        assert len(roots[-1].element) <= 1

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ("<rss><item/></rss>", "is XML, and no dump of Wikipedia: it begins with <rss>"),
            (dump(page("A", "A b. C d."))[:-30], "is no whole dump of Wikipedia: "),
            ("no XML", "is no whole dump of Wikipedia: syntax error"),
            ("", "is no whole dump of Wikipedia: no element"),
        ],
    )
    def test_what_is_no_dump_is_refused(self, tmp_path: Path, content: str, says: str) -> None:
        (tmp_path / "a.xml").write_text(content)
        assert f"{tmp_path}/a.xml {says}" in refusal(tmp_path / "a.xml")

    def test_without_its_packages_they_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.xml").write_text(dump(page("A", "A b. C d.")))
        monkeypatch.setitem(sys.modules, "mwxml", None)
        assert "pip install 'bert-lightning[wikipedia]'" in refusal(tmp_path)


HTML = """<!DOCTYPE html>
<html><head><title>Cranes</title><style>p { color: red }</style></head><body>
<nav><ul><li>Home. Start.</li></ul></nav><header><h1>Cranes</h1></header>
<h2>What they are</h2>
<p>The <b>crane</b> is a
   large&nbsp;bird. It <a href="x">flies</a>.<br>It sings.</p>
<div>It waits. <div>It sleeps.</div> It wakes.</div>
<ul><li>One thing.</li><li>Another.</li></ul>
<script>let a = "A b.";</script><!-- Nobody knows. -->
<table><tr><td>Left.</td><td>Right.</td></tr></table>
<p>Unclosed &lt;text&gt;. <p>Ümläute. 鶴は大きい鳥だ。
<footer>Imprint. Contact.</footer></body></html>
"""


class TestHtml:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("selectolax", reason="needs the extra html")

    @pytest.mark.parametrize("name", ["a.html", "a.HTM", "saved"])
    def test_blocks_are_paragraphs_and_menus_are_none(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text(HTML, encoding="utf-8")
        (document,) = documents_of(tmp_path, sentences="line")
        assert [paragraph for (paragraph,) in document] == [
            "The crane is a large bird. It flies.",
            "It sings.",
            "It waits.",
            "It sleeps.",
            "It wakes.",
            "One thing.",
            "Another.",
            "Left.",
            "Right.",
            "Unclosed <text>.",
            "Ümläute. 鶴は大きい鳥だ。",
        ]

    def test_a_page_without_a_word_is_counted(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("A b.\n")
        (tmp_path / "b.html").write_text("")
        (tmp_path / "c.html").write_text("<html><body><nav>A b.</nav></body></html>")
        assert read(tmp_path) == ([[["A b."]]], {"files without a word": 2})

    def test_what_a_page_declares_does_not_change_its_encoding(self, tmp_path: Path) -> None:
        page = '<html><head><meta charset="latin-1"></head><body>Grüße.</body></html>'
        (tmp_path / "a.html").write_text(page, encoding="utf-8")
        assert documents_of(tmp_path) == [[["Grüße."]]]
        (tmp_path / "a.html").write_text(page, encoding="latin-1")
        assert "is not UTF-8: byte" in refusal(tmp_path)

    def test_without_its_package_it_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.html").write_text(HTML)
        monkeypatch.setitem(sys.modules, "selectolax.lexbor", None)
        assert "pip install 'bert-lightning[html]'" in refusal(tmp_path)
