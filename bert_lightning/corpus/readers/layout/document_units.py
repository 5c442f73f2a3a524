"""What a document of one's own text is: a file, what stands between blank lines, an article, a row.

It is settled once for all files, and said: the splits and the pairs depend on it.
"""

from collections.abc import Sequence
from dataclasses import replace

from bert_lightning.config import CorpusConfig, DocumentUnit, Format
from bert_lightning.corpus.readers.kinds import TextFile
from bert_lightning.corpus.readers.left_out import LeftOut
from bert_lightning.errors import UserError

_SAID = {
    DocumentUnit.file: (
        "text files, each of which is one",
        "data.document=blank_line ends documents at blank lines",
    ),
    DocumentUnit.blank_line: (
        "text files, in which blank lines end them",
        "data.document=file makes each file one",
    ),
    DocumentUnit.heading: ("text files, in which headings begin them", ""),
}


def settle_documents(
    data: CorpusConfig, files: Sequence[TextFile], min_documents: int, said: LeftOut
) -> CorpusConfig:
    """Returns the config with the unit of documents in files of text; a row of a table is one.

    Null becomes `heading` in WikiText's format, `file` if there are several files, and `blank_line`
    if there is one, or if the splits need more documents than there are files.

    Raises:
        UserError: the files have no such units.
    """
    texts = [file for file in files if file.holds == "text"]
    tables = [file for file in files if file.holds not in ("text", "wikiextractor")]
    unit = data.document
    if unit is DocumentUnit.row and (texts or not tables):
        raise UserError(
            f"data.document=row: {len(texts) or len(files)} of the {len(files)} files of "
            f"data.path={data.path} hold text, which has no rows: use file or blank_line"
        )
    if unit is not None and unit is not DocumentUnit.row and not texts:
        raise UserError(
            f"data.document={unit.value}: none of the {len(files)} files of data.path={data.path} "
            "is plain text, and documents of other files are their rows or articles: omit it"
        )
    held_out = (data.validation_fraction > 0) + (data.test_fraction > 0)
    needed = min_documents * (1 + held_out)
    if unit is None and data.format is Format.wikitext:
        unit = DocumentUnit.heading
    elif unit is None:
        many = len(files) >= max(2, needed)
        unit = DocumentUnit.file if many else DocumentUnit.blank_line
    if data.document is None and texts:
        what, way_out = _SAID[unit]
        if unit is DocumentUnit.blank_line and len(files) > 1:
            way_out = f"data.document=file needs {needed} files, for the splits"
        said.add(what, "", way_out, len(texts), fate="Documents")
    if tables and data.format is Format.prose:
        said.add("tables, each row of which is one", count=len(tables), fate="Documents")
    return replace(data, document=unit if texts else data.document)
