"""Makes of text what runs read: a tokenizer, a prepared corpus, and shards of one."""

from argparse import Namespace

from bert_lightning.config import CorpusSource, Format, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers.lines import METER
from bert_lightning.corpus.shards.remote import RemoteFolder
from bert_lightning.corpus.shards.writing import add_part, known_tokenizer, require_tokenizer
from bert_lightning.corpus.tokenizer import load_tokenizer
from bert_lightning.corpus.vocabulary.build import train_on_files
from bert_lightning.errors import UserError
from bert_lightning.pretrained.initial_weights import open_initial
from bert_lightning.reports.preparation_report import show_preparation
from bert_lightning.work import working


def tokenizer(args: Namespace) -> None:
    config = TokenizerConfig(
        kind=TokenizerKind[args.kind],
        vocab_size=args.vocab_size,
        min_frequency=args.min_frequency,
        lowercase=not args.cased,
        strip_accents=args.strip_accents,
    )
    with working("training a tokenizer", unit="MB", measure=METER.megabytes()):
        trained = train_on_files(args.files, config, Format[args.format])
    try:
        args.output.write_text(trained.to_str(pretty=True), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{args.output.absolute()} cannot be written: {error.strerror}") from error
    print(f"{trained.get_vocab_size():,} tokens; saved {args.output}")


def corpus(args: Namespace) -> None:
    """Prepares the corpus of the options, and says what it made."""
    show_preparation(args.config)


def shards(args: Namespace) -> None:
    config, folder = args.config, RemoteFolder(args.folder)
    if config.data.source is CorpusSource.shards:
        raise UserError("data=shards is in shards already: name the text, as data=text data.path=…")
    if args.tokens < 1:
        raise UserError(f"--tokens {args.tokens}: a shard has 1 token or more")
    source = open_initial(config)
    base = source.tokenizer if source else None
    if base is None and config.tokenizer.path is not None:
        base = load_tokenizer(config.tokenizer.path)
    if base is not None and not config.tokenizer.extend:
        require_tokenizer(folder, base)
    base = base or known_tokenizer(folder)
    prepared = prepare(config.data, config.tokenizer, config.batch.pairs, base)
    table = add_part(folder, prepared, args.tokens)
    for split in table.splits:
        written, counts = table.shards(split), table.counts(split)
        size = sum(shard.bytes for shard in written) / 1e6
        print(
            f"{split:<12}{counts['tokens']:,} tokens, {counts['documents']:,} documents, "
            f"{len(written):,} shards, {size:,.0f} MB"
        )
    print(f"next        bert-lightning train data=shards data.path={folder.url}")
