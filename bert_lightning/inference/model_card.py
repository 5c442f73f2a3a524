"""The model card of an export: its README.md."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from bert_lightning.config import TrainConfig
from bert_lightning.config.affects import PLACE, leaves, named
from bert_lightning.inference.export_folder import MODELING
from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import has_counterpart
from bert_lightning.pretrained.sources import PretrainedSource

_SCORES = {
    "mlm_loss": "masked language modeling, loss (nats)",
    "mlm_accuracy": "masked language modeling, accuracy",
    "mlm_accuracy_known": "masked language modeling, accuracy without [UNK]",
    "mlm_unknown_fraction": "masked tokens that are [UNK], fraction",
    "nsp_loss": "sentence pairs, loss (nats)",
    "nsp_accuracy": "sentence pairs, accuracy",
}
_WITH_TRANSFORMERS = """```python
from transformers import AutoModelForPreTraining, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}"{trust})
model = AutoModelForPreTraining.from_pretrained("{name}"{trust})
output = model(**tokenizer("the [MASK] is new", "it was built last year", return_tensors="pt"))
output.prediction_logits  # a score for each word at each place
output.seq_relationship_logits.softmax(-1)[0, 0]  # class 0: the second text follows the first
```

"""
TRUST = ", trust_remote_code=True"
"""What a call needs that loads a model of `MODELING`."""
TRUSTED = f"""transformers has no class for this model: `trust_remote_code=True` runs
[`{MODELING}`]({MODELING}) of this folder, which you can read first.
bert-lightning loads the folder without running it.

"""
_WITH_BERT_LIGHTNING = """```python
import bert_lightning

bert = bert_lightning.load("{name}")
bert.encode("the crane is flying").vectors  # one vector a token
bert.fill_mask("the [MASK] is new")
bert.is_next("the crane is new", "it was built last year")
```
"""


def model_card(name: str, source: PretrainedSource, model: BertForPreTraining) -> str:
    """Returns the README.md of an exported model, built from its source, in Markdown."""
    counterpart, config, summary = has_counterpart(model.config), model.config, run_summary(source)
    scores = _validation(source, summary)
    corpus = str(source.about.get("corpus"))
    results = [
        EvalResult(
            task_type="fill-mask" if metric.startswith("mlm") else "text-classification",
            dataset_type=corpus,
            dataset_name=corpus,
            dataset_split="validation",
            metric_type=metric.partition("_")[2],
            metric_name=_SCORES[metric],
            metric_value=round(value, 4),
        )
        for metric, value in scores.items()
        if metric in _SCORES
    ]
    metadata = ModelCardData(
        model_name=name,
        library_name="transformers",
        pipeline_tag="fill-mask",
        tags=["bert", "masked-language-modeling", "next-sentence-prediction"],
        eval_results=results or None,
    )
    kind = "BERT" if counterpart else "A BERT of a newer architecture"
    parameters = sum(parameter.numel() for parameter in model.parameters())
    head = f"""---
{metadata.to_yaml()}
# license: choose one and state it here, such as apache-2.0
---

# {name}

{kind} with masked-language-model and next-sentence heads, pretrained with bert-lightning.

- {config.num_hidden_layers} layers, {config.hidden_size} hidden, {config.num_attention_heads} heads
- {parameters:,} parameters
- {source.tokenizer.get_vocab_size():,} tokens in the vocabulary
- texts of up to {config.max_position_embeddings} tokens

## Use

"""
    use = _WITH_TRANSFORMERS + ("" if counterpart else TRUSTED) + _WITH_BERT_LIGHTNING
    parts = [head + use.format(name=name, trust="" if counterpart else TRUST)]
    if "config" in source.about:
        parts.append(training_section(source, named(TrainConfig, PLACE)))
    if scores:
        parts.append(_scores(source, scores, summary.get("validation_baselines", {})))
    return "\n".join(parts)


def training_section(source: PretrainedSource, places: Collection[str]) -> str:
    """Returns the data, the step and the options of a run; those named in `places` are left out."""
    about = source.about
    origin = Path(str(about.get("corpus_origin")))
    reason = about.get("fallback_reason")
    options = {
        name: value
        for name, value in leaves(about.get("config", {}))
        if value is not None and name not in places
    }
    return f"""## Training

Data: {about.get("corpus")} ({origin.name if origin.is_absolute() else origin}){
        f", instead of the requested corpus: {reason}" if reason else ""
    }.
The weights are those of optimizer step {about.get("step")}. All options that were set:

```json
{json.dumps(options, indent=2)}
```
"""


def _validation(source: PretrainedSource, summary: Mapping[str, Any]) -> Mapping[str, float]:
    """Returns the validation scores of these very weights; empty where the summary has none."""
    step, loaded = source.about.get("step"), summary.get("loaded", {})
    if loaded.get("step") == step:
        return loaded.get("validation", {})
    return summary.get("validation", {}) if summary.get("steps") == step else {}


def _scores(
    source: PretrainedSource, scores: Mapping[str, float], baselines: Mapping[str, float]
) -> str:
    rows = [
        f"| {title} | {scores[name]:.3f} | "
        + (f"{baselines[name]:.3f} |" if baselines.get(name) is not None else "|")
        for name, title in _SCORES.items()
        if name in scores
    ]
    return f"""## Scores

On the validation split, after step {source.about.get("step")}, beside the unigram baseline of
masked tokens and the majority baseline of pairs:

| | score | baseline |
| --- | --- | --- |
{chr(10).join(rows)}
"""


def run_summary(source: PretrainedSource) -> Mapping[str, Any]:
    """Returns the summary of the source's run; empty for other sources and unfinished runs."""
    checkpoints = Path(source.name).parent
    if checkpoints.name != "checkpoints":
        return {}
    try:
        summary = json.loads((checkpoints.parent / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}
