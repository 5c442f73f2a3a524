"""What an export says of itself: its README.md."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_lightning.model.bert import BertForPreTraining
from bert_lightning.model.hf_names import has_counterpart
from bert_lightning.pretrained.sources import PretrainedSource

_SCORES = {
    "mlm_loss": "masked words, loss (nats)",
    "mlm_accuracy": "masked words, accuracy",
    "nsp_loss": "sentence pairs, loss (nats)",
    "nsp_accuracy": "sentence pairs, accuracy",
}
_PLACES = {"run_dir", "cache_dir", "path", "default_root_dir"}
_WITH_TRANSFORMERS = """```python
from transformers import AutoTokenizer, BertForPreTraining

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = BertForPreTraining.from_pretrained("{name}")
output = model(**tokenizer("the [MASK] is new", "it was built last year", return_tensors="pt"))
output.prediction_logits  # a score for each word at each place
output.seq_relationship_logits.softmax(-1)[0, 0]  # class 0: the second text follows the first
```

"""
_NO_COUNTERPART = """transformers has no class for this architecture; bert-lightning loads it:

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
    """The README.md of an exported model, in Markdown.

    Args:
        name: what the model is called.
        source: where it came from; a run's checkpoint also says how it was trained.
        model: the same, built.
    """
    parts = [_head(name, source, model), _use(name, model)]
    if source.about:
        parts += [_training(source), _scores(source)]
    return "\n".join(part for part in parts if part)


def _head(name: str, source: PretrainedSource, model: BertForPreTraining) -> str:
    counterpart = has_counterpart(model.config)
    kind = "BERT" if counterpart else "A BERT of a newer architecture"
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"""---
library_name: {"transformers" if counterpart else "bert-lightning"}
pipeline_tag: fill-mask
tags: [bert, masked-language-modelling, next-sentence-prediction]
# license: yours to choose and to write here, such as apache-2.0
---

# {name}

{kind} with its masked-language-model and next-sentence heads, pre-trained with bert-lightning.

- {config.num_hidden_layers} layers, {config.hidden_size} hidden, {config.num_attention_heads} heads
- {parameters:,} parameters
- {source.tokenizer.get_vocab_size():,} entries in the vocabulary
- texts of up to {config.max_position_embeddings} tokens
"""


def _use(name: str, model: BertForPreTraining) -> str:
    first = _WITH_TRANSFORMERS if has_counterpart(model.config) else _NO_COUNTERPART
    return "## Use\n\n" + first.format(name=name) + _WITH_BERT_LIGHTNING.format(name=name)


def _training(source: PretrainedSource) -> str:
    about = source.about
    origin = str(about.get("corpus_origin"))
    reason = about.get("fallback_reason")
    config = json.dumps(_public(about.get("config", {})), indent=2)
    return f"""## Training

Data: {about.get("corpus")} ({Path(origin).name if Path(origin).is_absolute() else origin}){
        f", in place of the one asked for: {reason}" if reason else ""
    }.
The weights are those of optimiser step {about.get("step")}. All options that were set:

```json
{config}
```
"""


def _public(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options without those that are null, or say where on the machine something lay."""
    return {
        name: _public(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
        if value is not None and name not in _PLACES
    }


def _scores(source: PretrainedSource) -> str:
    """Validation scores beside the floors of a model without context; from the run's folder."""
    summary = _summary(source)
    if "validation" not in summary:
        return ""
    scores, baselines = summary["validation"], summary.get("validation_baselines", {})
    rows = [
        f"| {title} | {scores[name]:.3f} | {_shown(baselines.get(name))} |"
        for name, title in _SCORES.items()
        if name in scores
    ]
    return f"""## Scores

On the validation split at the end of the run (step {summary.get("steps")}), beside what can be had
without context, by the frequencies of words and labels alone:

| | score | without context |
| --- | --- | --- |
{chr(10).join(rows)}
"""


def _summary(source: PretrainedSource) -> Mapping[str, Any]:
    checkpoints = Path(source.name).parent
    if checkpoints.name != "checkpoints":
        return {}
    try:
        file = checkpoints.parent / "summary.json"
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a checkpoint on its own, or a run that was stopped before it was summarised
    return summary if isinstance(summary, dict) else {}


def _shown(floor: float | None) -> str:
    return "" if floor is None else f"{floor:.3f}"
