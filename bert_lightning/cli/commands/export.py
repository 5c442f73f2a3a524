"""Writes a trained model as a folder that Hugging Face's transformers loads, heads included."""

from argparse import Namespace

from bert_lightning.inference.export import export


def main(args: Namespace) -> None:
    folder, checked_by, difference = export(args.run, args.folder)
    print(
        f"saved {folder}; loaded again by {checked_by}, its outputs differ by {difference:.1g} at "
        "most; add your license to README.md"
    )
