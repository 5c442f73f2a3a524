"""`bert_lightning.load`: a pretrained model, or one that was fine-tuned to a task."""

from os import PathLike

from bert_lightning.finetuning.predict import FineTunedBert, fine_tuned
from bert_lightning.inference.loaded import PretrainedBert, loaded
from bert_lightning.pretrained.sources import open_source


def load(path: str | PathLike[str]) -> PretrainedBert | FineTunedBert:
    """Loads a model from this machine, or from the Hugging Face Hub if there is no such path.

    Args:
        path: a run folder, whose best checkpoint is read; a `.ckpt` file; a folder of runs, of
            which the newest is read; a folder in Hugging Face's format; or a name on its hub.

    Returns:
        What was fine-tuned answers its task: `classify`, `score`, `tag`, `choose`, `answer`, or
        `encode` and `similarity`; so does a folder of BertForSequenceClassification,
        BertForTokenClassification, BertForMultipleChoice or BertForQuestionAnswering. Any other
        model encodes texts, fills masks and tells whether a
        sentence follows.

    Raises:
        UserError: nothing is found, or it is corrupted, unsafe to load, or not supported.
    """
    source = open_source(path)
    return fine_tuned(source) if "task" in source.about else loaded(source)
