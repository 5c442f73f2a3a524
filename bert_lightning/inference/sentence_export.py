"""Export of an encoder that gives one vector a sentence, in the layout of sentence-transformers."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from huggingface_hub import ModelCardData
from torch import Tensor

from bert_lightning.config import TrainConfig
from bert_lightning.config.affects import PLACE, named
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.config.task import Pooling
from bert_lightning.inference.export_folder import (
    CARD,
    MODULES,
    MODULES_CONFIG,
    NORMALIZE,
    POOLING,
    Checked,
    Exported,
    compared,
    export_folder,
    loaded_by_transformers,
    quiet_loading,
    sample_texts,
    write_json,
    write_model,
)
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.inference.model_card import TRUST, TRUSTED, training_section
from bert_lightning.inference.represent import segments
from bert_lightning.model.hf_names import (
    NO_HEADS,
    has_counterpart,
    to_config,
    to_hugging_face,
)
from bert_lightning.pretrained.hf_folder import CONFIG
from bert_lightning.pretrained.sources import PretrainedSource, build, open_source

POOLINGS = (Pooling.mean.value, Pooling.cls.value)
_MODULE = "sentence_transformers.models"
"""The name that old and new versions know."""


class Vectors(NamedTuple):
    """The one vector of a text."""

    pooling: Pooling
    """`mean` or `cls`."""
    normalized: bool
    """Whether its length is 1."""


def export_sentences(
    source: PretrainedSource,
    folder: str | PathLike[str],
    pooling: Pooling,
    *,
    normalized: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Exported:
    """Writes the encoder, and that its vectors are pooled: `mean` or `cls`.

    `normalized` scales them to length 1; `settings` are added to the `config.json`.

    Raises:
        UserError: the folder holds something else, or the copy differs.
    """
    bert, vectors = PretrainedBert(build(source), source.tokenizer), Vectors(pooling, normalized)

    def write(temporary: Path, name: str) -> None:
        _write(bert, source, vectors, settings or {}, temporary)
        (temporary / CARD).write_text(_card(name, source, vectors), encoding="utf-8")

    return export_folder(folder, write, lambda temporary: _check(bert, vectors, temporary))


def _write(
    bert: PretrainedBert,
    source: PretrainedSource,
    vectors: Vectors,
    settings: Mapping[str, Any],
    folder: Path,
) -> None:
    rows = bert.model.encoder.embeddings.word.num_embeddings
    config = to_config(bert.model.config, rows, NO_HEADS)
    parts = {"encoder", "pooler"} - source.missing_heads
    state = bert.model.state_dict().items()
    body = {name: value for name, value in state if name.partition(".")[0] in parts}
    if has_counterpart(source.config):
        body = to_hugging_face(body)
    elif "pooler" not in parts:
        config["pooling"] = vectors.pooling.value
    write_model(folder, {**config, **settings}, body, bert.tokenizer)
    modules = [("0", "", "Transformer"), ("1", POOLING, "Pooling")]
    modules += [("2", NORMALIZE, "Normalize")] * vectors.normalized
    write_json(
        folder / MODULES,
        [
            {"idx": int(number), "name": number, "path": path, "type": f"{_MODULE}.{kind}"}
            for number, path, kind in modules
        ],
    )
    write_json(folder / MODULES_CONFIG, {"max_seq_length": bert.max_length, "do_lower_case": False})
    (folder / POOLING).mkdir()
    write_json(
        folder / POOLING / CONFIG,
        {
            "word_embedding_dimension": bert.model.config.hidden_size,
            "pooling_mode_cls_token": vectors.pooling is Pooling.cls,
            "pooling_mode_mean_tokens": vectors.pooling is Pooling.mean,
        },
    )


def sentence_vectors(bert: PretrainedBert, texts: Sequence[str], vectors: Vectors) -> Tensor:
    """Returns the vector of each text, `(texts, hidden)`."""
    found = bert.encode_many(texts)
    pooled = [one.cls if vectors.pooling is Pooling.cls else one.vectors.mean(0) for one in found]
    return _scaled(torch.stack(pooled), vectors)


def _scaled(pooled: Tensor, vectors: Vectors) -> Tensor:
    return F.normalize(pooled, dim=1) if vectors.normalized else pooled


def _check(bert: PretrainedBert, vectors: Vectors, folder: Path) -> Checked:
    """Compares the vectors with those of the written files, by the best reader there is."""
    read = sample_texts(bert.tokenizer, bert.max_length)
    texts = [segment for text in read for segment in segments(text)]
    by, theirs = "sentence-transformers", _their_vectors(folder, texts)
    if theirs is None:
        by, theirs = "transformers", _transformers_vectors(bert, folder, texts, vectors)
    if theirs is None:
        again = open_source(folder)
        copy = PretrainedBert(build(again), again.tokenizer)
        by, theirs = "bert-lightning", sentence_vectors(copy, texts, vectors)
    return compared(by, {"vectors": sentence_vectors(bert, texts, vectors)}, {"vectors": theirs})


def _their_vectors(folder: Path, texts: list[str]) -> Tensor | None:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return None
    with quiet_loading():
        model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=True)
    return model.encode(texts, convert_to_tensor=True, show_progress_bar=False)


def _transformers_vectors(
    bert: PretrainedBert, folder: Path, texts: Sequence[str], vectors: Vectors
) -> Tensor | None:
    loaded = loaded_by_transformers(folder, "AutoModel", bert.tokenizer, texts)
    if loaded is None:
        return None
    model, batch = loaded
    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state  # (texts, length, hidden)
    if vectors.pooling is Pooling.cls:
        return _scaled(hidden[:, 0], vectors)
    real = batch["attention_mask"][:, :, None]
    return _scaled((hidden * real).sum(1) / real.sum(1), vectors)


def _card(name: str, source: PretrainedSource, vectors: Vectors) -> str:
    metadata = ModelCardData(
        model_name=name,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["bert", "sentence-transformers", "feature-extraction"],
    )
    vector = "[CLS]" if vectors.pooling is Pooling.cls else "the mean over all tokens"
    scaled = "scaled to length 1" if vectors.normalized else "not normalized"
    known = has_counterpart(source.config)
    card = f"""---
{metadata.to_yaml()}
# license: choose one and state it here, such as apache-2.0
---

# {name}

The encoder of a BERT trained with bert-lightning. The vector of a sentence, of
{source.config.hidden_size} numbers, is {vector}, {scaled}.

```python
from sentence_transformers import SentenceTransformer

SentenceTransformer("{name}"{"" if known else TRUST}).encode(["the crane is flying"])
```
"""
    card += "" if known else f"\n{TRUSTED.rstrip()}\n"
    if "config" not in source.about:
        return card
    places = {*named(TrainConfig, PLACE), *named(FinetuneConfig, PLACE)}
    return f"{card}\n{training_section(source, places)}"
