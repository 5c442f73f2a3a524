"""The commands of `bert-lightning`, and the parsers of their arguments."""

from argparse import ArgumentParser
from typing import NamedTuple

from bert_lightning.runs.launched import shown_command


class Command(NamedTuple):
    function: str
    """Its module below `bert_lightning.cli.commands`, and the function there."""
    purpose: str
    takes_options: bool = False
    """Whether it takes the options of a run, which tab completion offers."""


COMMANDS = {
    "train": Command("train:main", "pretrain a model", True),
    "plan": Command("plan:main", "estimate the parameters, FLOPs, memory and hours of a run", True),
    "inspect": Command("inspect:main", "show a corpus, its examples and its baselines", True),
    "tokenizer": Command("tokenizer:main", "train a tokenizer on text files"),
    "corpora": Command("corpora:main", "list prepared corpora, and remove unused ones"),
    "doctor": Command("doctor:main", "diagnose a run from its curves"),
    "replay": Command("replay:main", "repeat one step of a run and show the loss of each example"),
    "evaluate": Command("evaluate:main", "score a model on held-out text, with baselines", True),
    "minimal-pairs": Command("minimal_pairs:main", "measure the accuracy on minimal pairs"),
    "encode": Command("inference:encode", "print the vectors of a text, or of a pair"),
    "fill-mask": Command("inference:fill_mask", "print the most probable words for a [MASK]"),
    "is-next": Command("inference:is_next", "print the probability that B follows A"),
    "export": Command("export:main", "write a model in Hugging Face's format"),
}


def parser_of(name: str) -> ArgumentParser:
    """Returns a parser without arguments that names the command as its user typed it."""
    purpose = COMMANDS[name].purpose
    return ArgumentParser(shown_command(name), description=f"{purpose[0].upper()}{purpose[1:]}.")
