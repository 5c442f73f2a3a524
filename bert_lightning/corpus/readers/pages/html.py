"""The paragraphs of an HTML page, by selectolax: what is neither markup, menu nor heading."""

from collections.abc import Iterator

from bert_lightning.corpus.readers.left_out import LeftOut, shown
from bert_lightning.corpus.readers.lines import open_text, without_nul
from bert_lightning.corpus.readers.storage.opening import File
from bert_lightning.errors import UserError

LARGEST_PAGE = 2**27
"""Characters of a page, which is read as a whole."""
_OMITTED = (
    "script, style, template, noscript, nav, header, footer, aside, form, button, select, "
    "textarea, iframe, object, svg, math, h1, h2, h3, h4, h5, h6"
)
"""Elements that hold no prose, and headings, which WikiText's reader omits too."""
_BLOCKS = (
    "address, article, blockquote, br, caption, center, dd, details, div, dl, dt, fieldset, "
    "figcaption, figure, hr, li, main, ol, p, pre, section, summary, table, td, th, tr, ul"
)
"""Elements that begin and end a paragraph."""
_BREAK = "\x1e"


def html_documents(file: File, _: LeftOut) -> Iterator[list[str]]:
    """Yields the paragraphs of a page, which is one document.

    Raises:
        UserError: selectolax is missing, or the page is no UTF-8 or too large.
    """
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError as error:
        raise UserError(
            f"{shown(file.absolute())}: .html needs the package selectolax: "
            "pip install 'bert-lightning[html]'"
        ) from error
    with open_text(file) as stream:
        text = "".join(without_nul([stream.read(LARGEST_PAGE)], file))
        if stream.read(1):
            raise UserError(
                f"{shown(file.absolute())} is a page of more than {LARGEST_PAGE:,} characters: "
                "divide it, or convert it to text"
            )
    body = LexborHTMLParser(text).body
    if body is None:
        return
    for element in body.css(_OMITTED):
        element.decompose()
    for element in body.css(_BLOCKS):
        element.insert_before(_BREAK)
        element.insert_after(_BREAK)
    paragraphs = (" ".join(part.split()) for part in body.text().split(_BREAK))
    if document := [paragraph for paragraph in paragraphs if paragraph]:
        yield document
