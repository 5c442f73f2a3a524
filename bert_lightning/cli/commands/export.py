"""Writes a trained model as a folder that Hugging Face's transformers loads, heads included."""

from argparse import Namespace

from bert_lightning.config.task import Pooling
from bert_lightning.finetuning.export import export_task
from bert_lightning.inference.export import export_source
from bert_lightning.inference.sentence_export import export_sentences
from bert_lightning.pretrained.sources import open_source


def main(args: Namespace) -> None:
    source = open_source(args.run)
    if args.sentence_transformers:
        exported = export_sentences(source, args.folder, Pooling(args.sentence_transformers))
    elif "task" in source.about:
        exported = export_task(source, args.folder)
    else:
        exported = export_source(source, args.folder)
    print(
        f"saved {exported.folder}; loaded again by {exported.checked_by}, its outputs differ by "
        f"{exported.difference:.1g} at most; add your license to README.md"
    )
