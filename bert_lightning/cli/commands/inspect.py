"""Shows a corpus, some of its examples, and the baselines to read losses against."""

from argparse import Namespace

from bert_lightning.reports.data_report import show_data


def main(args: Namespace) -> None:
    show_data(args.config, args.examples)
