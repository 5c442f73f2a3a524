"""Checks of what a run was trained on."""

from bert_lightning.corpus.readers.left_out import MOST_LEFT_OUT, Omission
from bert_lightning.data.shortcomings import EXTENSION, MORE_PIECES, MOST_UNKNOWN, PIECES
from bert_lightning.runs.checks.check import Check
from bert_lightning.runs.record import RunRecord


def corpus(record: RunRecord) -> Check | None:
    """Checks that the corpus is the requested one."""
    if record.summary is None or "corpus" not in record.summary:
        return None
    reason = record.summary.get("fallback_reason")
    return Check(
        "corpus",
        f"{record.summary['corpus']} ({record.summary.get('corpus_origin')})",
        "the requested one",
        f"it is not the requested corpus: {reason}" if reason else None,
        ("data.path=FOLDER reads the text from this machine", "data.fallback=null fails instead"),
    )


def unknown(record: RunRecord) -> Check | None:
    """Checks how many tokens are unknown."""
    fraction = record.number("data", "splits", "train", "unknown_fraction")
    if fraction is None:
        return None
    measured = f"{fraction:.1%} of the training tokens"
    if (masked := record.last("val/mlm_unknown_fraction")) is not None:
        measured += f", {masked:.1%} of the masked tokens of validation"
    finding = "the tokenizer does not fit the text: the model learns to predict [UNK]"
    return Check(
        "unknown tokens",
        f"{measured} are [UNK]",
        f"{MOST_UNKNOWN:.0%} of the training tokens",
        finding if fraction > MOST_UNKNOWN else None,
        (PIECES, EXTENSION, MORE_PIECES),
        {"unknown": fraction, **({} if masked is None else {"masked": masked})},
    )


def left_out(record: RunRecord) -> Check | None:
    """Checks how much of the text is left out."""
    omissions = [Omission(**one) for one in (record.summary or {}).get("left_out", ())]
    counted = [(one.fraction, one) for one in omissions if one.fraction is not None]
    if not counted:
        return None
    fraction, most = max(counted, key=lambda pair: pair[0])
    return Check(
        "text left out",
        f"{most.count:,} {most.what}, {fraction:.1%} of the text",
        f"{MOST_LEFT_OUT:.0%} of the text",
        "much of the text is left out" if fraction > MOST_LEFT_OUT else None,
        (most.way_out,),
        {"left_out": fraction},
    )
