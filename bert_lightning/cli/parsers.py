"""The commands of `bert-lightning`, and their arguments."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from bert_lightning.config import Format, TokenizerKind
from bert_lightning.runs.launched import shown_command

Argument = tuple[str, dict[str, Any]]
"""The name and the settings that argparse gets."""


class Command(NamedTuple):
    function: str
    """Its module below `bert_lightning.cli.commands`, and the function there."""
    purpose: str
    arguments: Sequence[Argument]
    schema: str = "train"
    """The command whose options it takes, where it takes any."""
    kinds: Mapping[str, tuple[str, Sequence[Argument]]] = MappingProxyType({})
    """By its first argument, what it does then and the arguments that follow."""

    @property
    def takes_options(self) -> bool:
        """Whether it takes the options of a run, which tab completion offers."""
        return any(name == "overrides" for name, _ in self.arguments)


def _argument(
    name: str, help: str, kind: Callable[[str], Any] | None = None, **more: Any
) -> Argument:
    return name, {"help": help, "type": kind, **more}


def _flag(name: str, help: str) -> Argument:
    return name, {"help": help, "action": "store_true"}


def _options(help: str) -> Argument:
    return _argument("overrides", help, nargs="*")


_RUN = _argument("run", "a run folder, a .ckpt file, or a folder of runs")
_MODEL = _argument("run", "a run, a checkpoint, or a folder in Hugging Face's format")
_TOP = _argument("--top", "how many (default: %(default)s)", int, default=5)
_TRUNCATE = _flag("--truncate", "shorten text that is too long")
_JSON = _flag("--json", "print JSON")
_TRAIN = [_options("data=text data.path=FILE")]
_FINETUNE = [_options("task=text data.path=FILE init_from=RUN")]
_PLAN = [
    _options("as for train: model=large"),
    _argument("--tokens", "real tokens to train on (default: those of the run's steps)", float),
    _argument("--tflops", "reached by a device (default: 40%% of an H100's dense peak)", float),
    _argument("--memory", "GiB of a device (default: 80)", float),
    _argument("--vocab-size", "words (default: that of model, tokenizer or BERT, 30,522)", int),
    _argument("--fill", "real tokens as a fraction of batch.max_length", float, default=1.0),
    _JSON,
]
_INSPECT = [
    _options("as for train: data=text data.path=FILE"),
    _argument("--examples", "how many (default: %(default)s)", int, default=3),
]
_KINDS, _FORMATS = [kind.name for kind in TokenizerKind], [kind.name for kind in Format]
_TOKENIZER = [
    _argument("files", "text, .csv, .jsonl, .parquet, or a folder", nargs="+", metavar="FILE"),
    _argument("--kind", "default: %(default)s", choices=_KINDS, default="word"),
    _argument("--vocab-size", "size of the vocabulary, special tokens included", int),
    _argument("--min-frequency", "default: %(default)s", int, default=2, metavar="N"),
    _argument("--format", "default: %(default)s", choices=_FORMATS, default="prose"),
    _flag("--cased", 'keep "Crane" and "crane" apart'),
    _flag("--strip-accents", 'read "café" as "cafe"'),
    _argument("--output", "default: %(default)s", Path, default="tokenizer.json", metavar="FILE"),
]
_SHARDS = [
    _argument("folder", "a URL such as s3://bucket/corpus, or a folder; a corpus there grows"),
    _options("as for train: data=text data.path=FILE"),
    _argument("--tokens", "of a shard, about (default: %(default)s)", int, default=2**24),
]
_REMOVE = """
remove those that nothing has opened for so many days, those that this version cannot use, and what
interrupted preparations left; `unusable` keeps all others; a later run prepares a removed corpus
again"""
_CORPORA = [
    _argument("--cache-dir", "where they lie, as data.cache_dir", metavar="FOLDER"),
    _argument("--remove", _REMOVE, metavar="DAYS"),
]
_REPLAY = [
    _argument("run", "a run folder", Path),
    _argument("step", "the step, from 1, as in the log and the curves", int),
    _TOP,
    _flag("--json", "print all of them as JSON lines"),
]
_EVALUATE = [
    _MODEL,
    _options("data=, pairs=, data.* and batch.* (default: the run's own, or data=wikitext2)"),
    _argument(
        "--split", "default: %(default)s", choices=["validation", "test"], default="validation"
    ),
    _JSON,
]
_PAIRS = (
    "a folder or a .zip of .jsonl files as BLiMP's, with sentence_good and sentence_bad, or one"
)
_MINIMAL_PAIRS = [
    _MODEL,
    _argument("files", _PAIRS, Path, nargs="+", metavar="PAIRS"),
    _TRUNCATE,
    _JSON,
]
_PROBE = [
    _MODEL,
    _options("task=tokens data.path=FOLDER, task.*, data.*, batch.max_length and seed"),
    _flag("--all-checkpoints", "probe each checkpoint of a run, for curves over its steps"),
    _JSON,
]
_LAYER = _argument("--layer", "0 is the embeddings (default: the last)", int, default=-1)
_SENTENCES = "in each line sense<TAB>sentence, or a sentence; or CoarseWSD-20's *.data.txt"
_PROJECTOR = "write the vectors there, for TensorBoard's projector, and print no table"
_SENSES = [
    _MODEL,
    _argument("word", "the word, or a phrase"),
    _argument("--sentences", _SENTENCES, Path, metavar="FILE", required=True),
    _argument("--test", "held-out sentences (default: leave-one-out)", Path, metavar="FILE"),
    _argument("--projector", _PROJECTOR, Path, metavar="FOLDER"),
    _JSON,
]
_WORD = "show its vector wherever this word occurs, and their cosines; may be repeated"
_COMPARE = [
    _argument("runs", "a sweep, runs, or folders of them", Path, nargs="+", metavar="RUN"),
    _argument("--metric", "rank by this one (default: the runs' own)", metavar="NAME"),
    _argument("--plot", "draw their validation curves", Path, metavar="FILE.png"),
    _JSON,
]
_REPORT = [_argument("run", "a run, a sweep, a study of fine-tuning, or a folder of runs")]
_ENCODE = [
    _RUN,
    _argument("text", "a text"),
    _argument("pair", "a second text, read together with the first", nargs="?"),
    _argument("--word", _WORD, action="append", default=[]),
    _LAYER,
    _argument("--output", "save tokens and vectors", Path, metavar="FILE.npz"),
    _TRUNCATE,
]
_FILL_MASK = [_RUN, _argument("text", "a text with one [MASK]"), _TOP, _TRUNCATE]
_IS_NEXT = [_RUN, _argument("A", "a text"), _argument("B", "another one"), _TRUNCATE]
_DEMO = [
    _MODEL,
    _argument("run2", "another one, to be shown beside it", nargs="?"),
    _argument("--host", "address to listen on (default: %(default)s)", default="127.0.0.1"),
    _argument("--port", "default: the first free one from 7860", int),
]
_SENTENCES_TOO = "for sentence-transformers: the encoder, and how it pools (default: %(const)s)"
_EXPORT = [
    _MODEL,
    _argument("folder", "new, empty, or an earlier export", Path),
    _argument(
        "--sentence-transformers", _SENTENCES_TOO, nargs="?", choices=["mean", "cls"], const="mean"
    ),
    _flag("--onnx", "add model.onnx, checked by onnxruntime"),
]
_OUT = _argument("--out", "default: in the run's folder, or here", Path, metavar="FILE.png")
_OF_SENSES = _argument(
    "--sentences", "sense<TAB>sentence (default: ours, of crane)", Path, metavar="FILE"
)
_PICTURES = {
    "loss": (
        "the joint loss of a run as stacked areas, with its baselines",
        [_argument("run", "a run folder"), _OUT],
    ),
    "word": (
        "a word layer by layer, its senses in colors",
        [_MODEL, _argument("word", "the word, or a phrase"), _OF_SENSES, _OUT],
    ),
    "learning": (
        "a word over all checkpoints of a run, within and between its senses",
        [
            *(_argument("run", "a run folder"), _argument("word", "the word, or a phrase")),
            *(_OF_SENSES, _LAYER, _OUT),
        ],
    ),
    "attention": (
        "the attention of each layer and head in a text, or in a pair",
        [
            *(_MODEL, _argument("text", "a text")),
            _argument("text_pair", "a second text, read together with the first", nargs="?"),
            *(_TRUNCATE, _OUT),
        ],
    ),
    "labels": (
        "what pretraining buys: the score against the number of labelled examples",
        [_argument("run", "a fine-tuning run with learning_curve=true"), _OUT],
    ),
}

COMMANDS = {
    "train": Command("train:main", "pretrain a model", _TRAIN),
    "finetune": Command(
        "finetune:main", "fine-tune a model to labelled examples", _FINETUNE, "finetune"
    ),
    "plan": Command(
        "preview:plan", "estimate the parameters, FLOPs, memory and hours of a run", _PLAN
    ),
    "inspect": Command(
        "preview:inspect", "show a corpus, its examples and its baselines", _INSPECT
    ),
    "tokenizer": Command("text:tokenizer", "train a tokenizer on text files", _TOKENIZER),
    "prepare": Command(
        "text:corpus",
        "prepare a corpus without training on it",
        [_options("as for train: data=text data.path=FILE tokenizer=wordpiece")],
    ),
    "corpora": Command("corpora:main", "list prepared corpora, and remove unused ones", _CORPORA),
    "shards": Command("text:shards", "write a corpus as shards, for any URL", _SHARDS),
    "doctor": Command("evaluation:doctor", "diagnose a run from its curves", [_RUN, _JSON]),
    "report": Command("look:report", "write the report.html of a run or a sweep anew", _REPORT),
    "compare": Command("evaluation:comparison", "rank the runs of a sweep, or others", _COMPARE),
    "replay": Command("replay:main", "repeat one step and show the loss of each example", _REPLAY),
    "evaluate": Command(
        "evaluation:score", "score a model on held-out text, with baselines", _EVALUATE
    ),
    "minimal-pairs": Command(
        "evaluation:minimal_pairs", "measure the accuracy on minimal pairs", _MINIMAL_PAIRS
    ),
    "probe": Command(
        "probe:main", "measure what layers say of labels, without training them", _PROBE, "finetune"
    ),
    "senses": Command("evaluation:senses", "measure how well layers tell word senses", _SENSES),
    "picture": Command(
        "look:picture", "draw the loss, a word, attention, or scores", [], kinds=_PICTURES
    ),
    "encode": Command("inference:encode", "print the vectors of a text, or of a pair", _ENCODE),
    "fill-mask": Command(
        "inference:fill_mask", "print the most probable words for a [MASK]", _FILL_MASK
    ),
    "is-next": Command("inference:is_next", "print the probability that B follows A", _IS_NEXT),
    "demo": Command("demo:main", "serve a page to play with a model, or with two", _DEMO),
    "export": Command("export:main", "write a model in Hugging Face's format", _EXPORT),
}


def parse(name: str, argv: Sequence[str] | None) -> Namespace:
    """Returns the arguments of a command; `--help` names it as its user typed it."""
    purpose = COMMANDS[name].purpose
    parser = ArgumentParser(shown_command(name), description=f"{purpose[0].upper()}{purpose[1:]}.")
    for argument, settings in COMMANDS[name].arguments:
        parser.add_argument(argument, **settings)
    if not COMMANDS[name].kinds:
        return parser.parse_intermixed_args(argv)
    kinds = parser.add_subparsers(
        dest=name, required=True, metavar="KIND", prog=shown_command(name)
    )
    for kind, (shows, arguments) in COMMANDS[name].kinds.items():
        of_kind = kinds.add_parser(kind, help=shows, description=f"Draws {shows}.")
        for argument, settings in arguments:
            of_kind.add_argument(argument, **settings)
    return parser.parse_args(argv)
