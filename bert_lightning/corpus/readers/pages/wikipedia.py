"""The articles of a Wikipedia dump: pages by mwxml, their markup stripped by mwparserfromhell."""

import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import ParseError

from bert_lightning.corpus.readers.left_out import LeftOut, shown
from bert_lightning.corpus.readers.storage.opening import File, opened
from bert_lightning.errors import UserError

_NAMESPACES_OF_FILES_AND_CATEGORIES = {6, 14}
_OMITTED = frozenset({"table", "ref", "references", "gallery", "math", "timeline", "score", "pre"})
"""Elements without prose, beside those that the parser itself holds for invisible."""
_LIST_MARKS = frozenset("*#:;")
_LIST = "\x1e"
"""Stands at the beginning of a line of a list, which is omitted."""
_SWITCH = re.compile(r"__[A-Z]+__")
"""Behavior switches, such as `__NOTOC__`."""


def wikipedia_documents(file: File, left_out: LeftOut) -> Iterator[list[str]]:
    """Yields the paragraphs of each article: pages of namespace 0 that do not redirect.

    Of a page with several revisions the last one in the file counts.

    Raises:
        UserError: a package is missing, or the file is no dump of MediaWiki, or truncated.
    """
    name = shown(file.absolute())
    try:
        import mwparserfromhell  # noqa: F401 -- looked for before anything is read
        from mwxml import Dump
        from mwxml.element_iterator import ElementIterator
        from mwxml.errors import MalformedXML
    except ImportError as error:
        raise UserError(
            f"{name}: dumps of Wikipedia need the packages mwxml and mwparserfromhell: "
            "pip install 'bert-lightning[wikipedia]'"
        ) from error
    with opened(file) as stream:
        try:
            root = ElementIterator.from_file(stream)
            if root.tag != "mediawiki":
                raise UserError(
                    f"{name} is XML, and no dump of Wikipedia: it begins with <{root.tag}>, not "
                    "with <mediawiki>; convert it to text"
                )
            dump = Dump.from_element(root)
            prefixes = _prefixes(dump.site_info.namespaces or ())
            for page in dump.pages:
                text = ""
                for revision in page:
                    text = revision.text or ""
                if document := _paragraphs_of_article(page, text, prefixes, name, left_out):
                    yield document
                root.element.clear()  # else an empty element stays for each page
        except (ParseError, MalformedXML) as error:
            what = str(error).partition("\n")[0]
            raise UserError(
                f"{name} is no whole dump of Wikipedia: {what}; download it again"
            ) from error


def _paragraphs_of_article(
    page: Any, text: str, prefixes: frozenset[str], name: str, left_out: LeftOut
) -> list[str]:
    """Returns the paragraphs of a page, none where it is no article, which is counted."""
    if page.namespace != 0:
        left_out.add("pages of other namespaces, such as talk and categories", name)
        return []
    if page.redirect is not None:
        left_out.add("pages that redirect", name)
        return []
    found = paragraphs(text, prefixes)
    if not found:
        left_out.add("articles without a word outside lists, tables and templates", name)
    return found


def _prefixes(namespaces: Any) -> frozenset[str]:
    """Returns what links to files and categories begin with, in the language of the dump too."""
    own = {space.name for space in namespaces if space.id in _NAMESPACES_OF_FILES_AND_CATEGORIES}
    return frozenset(word.lower() for word in {"File", "Image", "Category", *own} if word)


def paragraphs(wikitext: str, prefixes: frozenset[str]) -> list[str]:
    """Returns the lines of prose of an article, without headings, lists, tables and templates."""
    import mwparserfromhell

    code = mwparserfromhell.parse(wikitext)
    text = _SWITCH.sub("", "".join(_visible(node, prefixes) for node in code.nodes))
    lines = (" ".join(line.split()) for line in text.split("\n") if _LIST not in line)
    return [line for line in lines if line]


def _visible(node: Any, prefixes: frozenset[str]) -> str:
    from mwparserfromhell import nodes

    if isinstance(node, nodes.Tag):
        if node.wiki_markup is not None and _LIST_MARKS.issuperset(str(node.wiki_markup)):
            return _LIST
        if str(node.tag).strip().lower() in _OMITTED:
            return ""
        if str(node.tag).strip().lower() == "br":
            return " "
    if isinstance(node, nodes.Wikilink):
        prefix, colon, _ = str(node.title).partition(":")
        if colon and prefix.strip().lower() in prefixes:
            return ""
        inner = node.title if node.text is None else node.text
        return "".join(_visible(part, prefixes) for part in inner.nodes)
    if isinstance(node, nodes.Heading):
        return ""
    if isinstance(node, nodes.Tag) and node.wiki_markup in ("''", "'''"):
        return "".join(_visible(part, prefixes) for part in node.contents.nodes)
    return str(node.__strip__(normalize=True, collapse=True, keep_template_params=False) or "")
