"""Trains a tokenizer on text files, for `tokenizer.path=tokenizer.json`."""

from collections.abc import Sequence
from pathlib import Path

from bert_lightning.cli.parsers import parser_of
from bert_lightning.config import Format, TokenizerConfig, TokenizerKind
from bert_lightning.errors import UserError, exit_on_user_error


@exit_on_user_error()
def main(argv: Sequence[str] | None = None) -> None:
    parser = parser_of("tokenizer")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="text, .csv, .jsonl or .parquet; or a folder"
    )
    parser.add_argument("--kind", choices=[kind.name for kind in TokenizerKind], default="word")
    parser.add_argument(
        "--vocab-size", type=int, help="size of the vocabulary, special tokens included"
    )
    parser.add_argument("--min-frequency", type=int, default=2, metavar="N")
    parser.add_argument("--format", choices=[kind.name for kind in Format], default="prose")
    parser.add_argument("--cased", action="store_true", help='keep "Crane" and "crane" apart')
    parser.add_argument("--strip-accents", action="store_true", help='read "café" as "cafe"')
    parser.add_argument("--output", type=Path, default=Path("tokenizer.json"), metavar="FILE")
    args = parser.parse_args(argv)
    from bert_lightning.corpus.vocabulary import train_on_files

    config = TokenizerConfig(
        kind=TokenizerKind[args.kind],
        vocab_size=args.vocab_size,
        min_frequency=args.min_frequency,
        lowercase=not args.cased,
        strip_accents=args.strip_accents,
    )
    tokenizer = train_on_files(args.files, config, Format[args.format])
    try:
        args.output.write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{args.output.absolute()} cannot be written: {error.strerror}") from error
    print(f"{tokenizer.get_vocab_size():,} tokens; saved {args.output}")
