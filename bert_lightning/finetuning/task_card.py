"""The model card of an exported task: its README.md."""

from collections.abc import Mapping

from huggingface_hub import ModelCardData

from bert_lightning.config.affects import PLACE, named
from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.finetuning.predict import FineTunedBert
from bert_lightning.finetuning.tasks.kinds import task_of
from bert_lightning.inference.model_card import TRUST, TRUSTED, run_summary, training_section
from bert_lightning.pretrained.sources import PretrainedSource

_NO_COUNTERPART = """transformers has no class for this model; bert-lightning loads it:

"""


def task_card(
    name: str, source: PretrainedSource, bert: FineTunedBert, has_class: bool, own: bool
) -> str:
    """Returns the README.md of an exported task, in Markdown.

    `has_class` says whether transformers loads it, `own` whether by the code in the folder.
    """
    task, config = task_of(bert.model.shape.kind), bert.model.config
    pipeline = task.pipeline
    metadata = ModelCardData(
        model_name=name,
        library_name="transformers" if has_class else "bert-lightning",
        pipeline_tag=pipeline,
        tags=["bert", pipeline],
    )
    use = f"```python\n{task.with_transformers}\n```\n\n" if has_class else _NO_COUNTERPART
    use += TRUSTED if has_class and own else ""
    parts = [
        f"""---
{metadata.to_yaml()}
# license: choose one and state it here, such as apache-2.0
---

# {name}

BERT fine-tuned with bert-lightning (`task={task.kind.value}`).

- answers: {task.answers(bert.names)}
- {config.num_hidden_layers} layers, {config.hidden_size} hidden, {config.num_attention_heads} heads
- {source.tokenizer.get_vocab_size():,} tokens in the vocabulary
- texts of up to {config.max_position_embeddings} tokens

## Use

{use.format(name=name, pipeline=pipeline, trust=TRUST if own else "")}```python
import bert_lightning

bert = bert_lightning.load("{name}")
bert.{task.call}
```
"""
    ]
    if "config" in source.about:
        parts.append(training_section(source, named(FinetuneConfig, PLACE)))
    summary = run_summary(source)
    scores = summary.get("test")
    if summary.get("best_step") == source.about.get("step") and isinstance(scores, Mapping):
        rows = [f"| {title.replace('_', ' ')} | {value:.3f} |" for title, value in scores.items()]
        head = "## Scores\n\nOn the test split:\n\n| | score |\n| --- | --- |"
        parts.append("\n".join([head, *rows, ""]))
    return "\n".join(parts)
