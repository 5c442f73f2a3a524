"""Prepares a corpus without training on it: `bert-lightning prepare data=text data.path=FOLDER`."""

from argparse import Namespace

from bert_lightning.reports.preparation_report import show_preparation


def main(args: Namespace) -> None:
    """Prepares the corpus of the options, and says what it made."""
    show_preparation(args.config)
