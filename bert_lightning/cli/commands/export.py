"""Writes a trained model as a folder that Hugging Face's transformers loads, heads included."""

from argparse import Namespace

from bert_lightning.finetuning.export import export_task
from bert_lightning.inference.export import export_source
from bert_lightning.pretrained.sources import open_source


def main(args: Namespace) -> None:
    source = open_source(args.run)
    export = export_task if "task" in source.about else export_source
    folder, checked_by, difference = export(source, args.folder)
    print(
        f"saved {folder}; loaded again by {checked_by}, its outputs differ by {difference:.1g} at "
        "most; add your license to README.md"
    )
