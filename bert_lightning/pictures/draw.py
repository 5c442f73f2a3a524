"""The five pictures, from what a user has: a run, a model, a text, a study."""

import json
import re
from os import PathLike
from pathlib import Path

from bert_lightning.errors import UserError
from bert_lightning.evaluation.sense_files import Occurrence, read_occurrences
from bert_lightning.inference.loaded import PretrainedBert, load
from bert_lightning.pictures.attention_maps import attention_figure
from bert_lightning.pictures.labels import learning_curve_figure
from bert_lightning.pictures.losses import joint_loss_figure
from bert_lightning.pictures.style import Picture
from bert_lightning.pictures.words import (
    learning_figure,
    scored_vectors,
    separation,
    word_figure,
)
from bert_lightning.pretrained.sources import build, checkpoints_of_run, sources_of_steps
from bert_lightning.runs.folder import read_config, shown
from bert_lightning.runs.record import read_run

Named = str | PathLike[str]
SENTENCES = Path(__file__).with_name("sentences")
"""Sentences of our own, in a file for each word."""
RESULTS = "results.json"


def loss(run: Named) -> Picture:
    """Draws the joint loss of a run as stacked areas, with the baselines of its objectives.

    Raises:
        UserError: there is no run of pretraining, or its joint loss has one objective.
    """
    record = read_run(Path(run))
    weights = read_config(record.folder).weights
    title = f"joint loss of {record.folder.name}"
    if record.summary is None:
        title += "\n(not at its end yet: the baselines come with its summary)"
    baselines = (record.summary or {}).get("validation_baselines", {})
    return _placed(
        joint_loss_figure(record.curves, weights, baselines, title), record.folder, "joint_loss"
    )


def word(run: Named | PretrainedBert, word: str, sentences: Named | None = None) -> Picture:
    """Draws a word's vectors in every layer of a model, its senses in colors.

    Args:
        run: a run, a checkpoint, a folder in Hugging Face's format, or a loaded model.
        word: the word, or a phrase.
        sentences: a file of `sense<TAB>sentence`; by default our own, if there are any.

    Raises:
        UserError: the word is not in a sentence, or there are fewer than two senses, or one has a
            single sentence.
    """
    found = _sentences(word, sentences)
    bert = _model(run)
    scores, vectors = scored_vectors(bert, word, found)
    senses = [str(one.sense) for one in found]
    picture = word_figure(scores, vectors.vectors, senses, _name(bert))
    return _placed(picture, _folder(bert), f"{_as_file(word)}_by_layer")


def learning(run: Named, word: str, sentences: Named | None = None, *, layer: int = -1) -> Picture:
    """Draws how similar a word's vectors become within a sense and between senses during a run.

    Every checkpoint that the run kept is a point: `callbacks.save_top_k=1000` keeps each validated
    one.

    Args:
        run: its folder.
        word: the word, or a phrase.
        sentences: as for :func:`word`.
        layer: 0 is the embeddings, -1 the last.

    Raises:
        UserError: there is no run, it kept one checkpoint only, or as for :func:`word`.
    """
    found = _sentences(word, sentences)
    folder, checkpoints = checkpoints_of_run(run)
    of_steps = {}
    for step, source in sources_of_steps(checkpoints):
        bert = PretrainedBert(build(source), source.tokenizer, origin=source.name)
        of_steps[step] = separation(bert, word, found, layer)
    if len(of_steps) < 2:
        raise UserError(
            f"{shown(folder)} has a checkpoint of one step, {next(iter(of_steps))}, and a curve "
            "needs more: train with callbacks.save_top_k=1000, which keeps each validated one"
        )
    where = {-1: "the last layer", 0: "the embeddings"}.get(layer, f"layer {layer}")
    title = f"“{word}” in {len(found)} sentences, {where}, while {folder.name} trained"
    in_order = {step: of_steps[step] for step in sorted(of_steps)}
    return _placed(learning_figure(in_order, title), folder, f"{_as_file(word)}_while_learning")


def attention(
    run: Named | PretrainedBert,
    text: str,
    text_pair: str | None = None,
    *,
    truncate: bool = False,
) -> Picture:
    """Draws the attention of every layer and head in a text, or in a pair.

    Raises:
        UserError: the text is empty, or longer than the model reads.
    """
    bert = _model(run)
    found = bert.attention(text, text_pair, truncate=truncate)
    return _placed(attention_figure(found, _name(bert)), _folder(bert), "attention")


def labels(run: Named) -> Picture:
    """Draws what pretraining buys: the test score against the number of labelled examples.

    Args:
        run: the folder of a fine-tuning run with `learning_curve=true`.

    Raises:
        UserError: it holds no results, or those of one number of examples.
    """
    folder = Path(run).expanduser()
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        picture = learning_curve_figure(results)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{(folder / RESULTS).absolute()} cannot be read ({type(error).__name__}: {error}): "
            "give the folder of a complete fine-tuning run with learning_curve=true"
        ) from error
    return _placed(picture, folder, "labels")


def _sentences(word: str, file: Named | None) -> list[Occurrence]:
    own = SENTENCES / f"{_as_file(word)}.tsv"
    if file is None and not own.is_file():
        known = ", ".join(sorted(path.stem for path in SENTENCES.glob("*.tsv")))
        raise UserError(
            f"there are sentences of our own for {known}, not for '{word}': give --sentences FILE "
            "with sense<TAB>sentence in each line"
        )
    return read_occurrences(own if file is None else Path(file))


def _model(run: Named | PretrainedBert) -> PretrainedBert:
    return run if isinstance(run, PretrainedBert) else load(run)


def _run_folder(bert: PretrainedBert) -> Path | None:
    """Returns the folder of the run whose checkpoint, or whose result, this model is."""
    origin = Path(bert.origin)
    folder = origin.parent.parent if origin.parent.name == "checkpoints" else origin
    return folder if bert.origin and (folder / "run.json").is_file() else None


def _folder(bert: PretrainedBert) -> Path:
    return _run_folder(bert) or Path()


def _name(bert: PretrainedBert) -> str:
    """Returns the name of a model for a title: that of its run, or the last parts of its path."""
    if folder := _run_folder(bert):
        return folder.name
    return "/".join(Path(bert.origin).parts[-2:]) or "this model"


def _placed(picture: Picture, folder: Path, name: str) -> Picture:
    picture.file = folder / f"{name}.png"
    return picture


def _as_file(word: str) -> str:
    return re.sub(r"\W+", "_", word.lower())
