"""Writes a trained model as a folder that Hugging Face's transformers loads, heads included."""

from argparse import Namespace

from bert_lightning.config.task import Pooling
from bert_lightning.errors import UserError
from bert_lightning.finetuning.export import export_task
from bert_lightning.inference.export import export_source
from bert_lightning.inference.sentence_export import export_sentences
from bert_lightning.pretrained.sources import open_source


def main(args: Namespace) -> None:
    source = open_source(args.run)
    if args.sentence_transformers:
        if args.onnx:
            raise UserError(
                "--onnx and --sentence-transformers: an ONNX graph is added to an export with "
                "heads; omit one of them"
            )
        exported = export_sentences(source, args.folder, Pooling(args.sentence_transformers))
    elif "task" in source.about:
        exported = export_task(source, args.folder, onnx=args.onnx)
    else:
        exported = export_source(source, args.folder, onnx=args.onnx)
    print(
        f"saved {exported.folder}; loaded again by {exported.checked_by}, its outputs differ by "
        f"{exported.difference:.1g} at most; add your license to README.md"
    )
