"""Writes a trained model as a folder that Hugging Face's transformers loads, heads included."""

from argparse import Namespace

from bert_lightning.config.task import Pooling
from bert_lightning.errors import UserError
from bert_lightning.finetuning.export import export_task
from bert_lightning.inference.export import export_source
from bert_lightning.inference.export_folder import MODELING, Exported
from bert_lightning.inference.sentence_export import export_sentences
from bert_lightning.pretrained.sources import open_source
from bert_lightning.work import working


def main(args: Namespace) -> None:
    with working("exporting and checking"):
        exported = _exported(args)
    print(
        f"saved {exported.folder}; loaded again by {exported.checked_by}, its outputs differ by "
        f"{exported.difference:.1g} at most; add your license to README.md"
    )
    if (exported.folder / MODELING).exists():
        print(f"other programs load it with trust_remote_code=True, which runs its {MODELING}")


def _exported(args: Namespace) -> Exported:
    source = open_source(args.run)
    if args.sentence_transformers:
        if args.onnx:
            raise UserError(
                "--onnx and --sentence-transformers: an ONNX graph is added to an export with "
                "heads; omit one of them"
            )
        return export_sentences(source, args.folder, Pooling(args.sentence_transformers))
    if "task" in source.about:
        return export_task(source, args.folder, onnx=args.onnx)
    return export_source(source, args.folder, onnx=args.onnx)
