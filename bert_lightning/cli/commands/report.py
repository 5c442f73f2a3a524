"""Writes the report of a run, a sweep or a study anew, from the files in its folder."""

from argparse import Namespace
from pathlib import Path

from bert_lightning.reports.page.pages import write_pages
from bert_lightning.runs.folder import shown


def main(args: Namespace) -> None:
    for file in write_pages(Path(args.run)):
        print(f"saved {shown(file)}")
