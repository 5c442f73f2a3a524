"""Trains a tokenizer on text files, for `tokenizer.path=tokenizer.json`."""

from argparse import Namespace

from bert_lightning.config import Format, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.readers.lines import METER
from bert_lightning.corpus.vocabulary.build import train_on_files
from bert_lightning.errors import UserError
from bert_lightning.work import working


def main(args: Namespace) -> None:
    config = TokenizerConfig(
        kind=TokenizerKind[args.kind],
        vocab_size=args.vocab_size,
        min_frequency=args.min_frequency,
        lowercase=not args.cased,
        strip_accents=args.strip_accents,
    )
    with working("training a tokenizer", unit="MB", measure=METER.megabytes()):
        tokenizer = train_on_files(args.files, config, Format[args.format])
    try:
        args.output.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{args.output.absolute()} cannot be written: {error.strerror}") from error
    print(f"{tokenizer.get_vocab_size():,} tokens; saved {args.output}")
