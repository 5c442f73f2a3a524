# %% [markdown]
# # Pretrain, then fine-tune
#
# A tiny BERT learns from plain text, and then from labels: does pretraining help? Everything here
# is made on this machine, the labelled examples too. Replace them by a CSV of your own at the end.
# It takes about seven minutes on two CPU cores, with the built-in text.
#
# The text is WikiText-2, from a folder `wikitext-2` beside this notebook, the cache or the Hugging
# Face hub. Where there is none, it is the documentation that every Python carries.

# %%
import csv
import os
import random
from itertools import pairwise
from pathlib import Path

import bert_lightning
from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    ModelConfig,
    OptimConfig,
    TokenizerConfig,
    TokenizerKind,
    TrainConfig,
    TrainerConfig,
)

BUDGET = os.environ.get("NOTEBOOK_BUDGET", "5min")  # of pretraining
EPOCHS = os.environ.get("NOTEBOOK_EPOCHS", "4")  # of fine-tuning

# %% [markdown]
# ## Pretrain
#
# Masked words and sentence pairs: the text itself is all the supervision. A loss below its
# baseline means that the model uses context. Training ends after five minutes, on a fast machine
# or a slow one.

# %%
config = TrainConfig(
    data=CorpusConfig(
        path="wikitext-2" if Path("wikitext-2").is_dir() else None,
        test_fraction=0.1,  # of a text that comes without a test split
    ),
    batch=BatchConfig(global_batch_size=64),
    tokenizer=TokenizerConfig(kind=TokenizerKind.wordpiece),
    model=ModelConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    optim=OptimConfig(time_budget=BUDGET),
    trainer=TrainerConfig(val_check_interval=200),
)
pretrained = bert_lightning.fit(config)
pretrained

# %% [markdown]
# ## Labelled data
#
# The task: which of two sentences is in its order, and in which are two neighboring words swapped?
# Its labels cost nothing, and no single word gives the answer. It is a small cousin of the minimal
# pairs of BLiMP.

# %%
from bert_lightning.corpus.prepare import prepare

corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
rng = random.Random(0)


def sentences(split):
    """Returns the sentences of a split in which two words can be swapped."""
    ids = [split.token_ids[a:b].tolist() for a, b in pairwise(split.sentence_starts)]
    texts = corpus.tokenizer.decode_batch(ids, skip_special_tokens=False)
    return [text.split() for text in texts if "[UNK]" not in text and places(text.split())]


def places(words):
    return [i for i, (a, b) in enumerate(pairwise(words)) if (a + b).isalpha() and a != b]


def swapped(words):
    i = rng.choice(places(words))
    return [*words[:i], words[i + 1], words[i], *words[i + 2 :]]


example = sentences(corpus.splits["train"])[0]
print(" ".join(example))
print(" ".join(swapped(example)))

# %% [markdown]
# The model is scored on sentences of documents that pretraining did not see. Files named `train`,
# `validation` and `test` are what `finetune` looks for in a folder.

# %%
Path("order").mkdir(exist_ok=True)
for split, most in {"train": 3000, "validation": 300, "test": 1000}.items():
    found = sentences(corpus.splits[split])
    chosen = rng.sample(found, min(most, len(found)))
    with Path("order", f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["sentence_good", "sentence_bad"])
        rows.writerows([" ".join(words), " ".join(swapped(words))] for words in chosen)
    print(f"{split}: {len(chosen):,} examples")

# %% [markdown]
# ## Fine-tune
#
# All weights learn, with a new layer of one output on top, and the sentence with the larger output
# is the answer. `finetune` then trains the same model from random weights, for comparison.

# %%
tuned = bert_lightning.finetune(
    "task=choice",
    "data.path=order",
    f"init_from={pretrained.run_dir}",
    f"trainer.max_epochs={EPOCHS}",
)
tuned

# %% [markdown]
# ## Did pretraining help?
#
# The gain is this model's score minus the other's; where its interval lies above 0, other test
# examples would very likely show a gain too. TF-IDF is a strong baseline here: it counts pairs of
# neighboring tokens, and a swap makes pairs that texts rarely have.

# %%
for row in tuned.results["rows"]:
    line = f"{row['model']:15} {row['scores']['accuracy']['mean']:.3f}"
    if "gain" in row:
        line += "  gain {mean:+.3f} ({low:+.3f} to {high:+.3f})".format(**row["gain"])
    print(line)

# %% [markdown]
# ## Use it

# %%
tuned.bert.choose(
    "the value of the attribute is a string", "the value the of attribute is a string"
)

# %% [markdown]
# ## Your own data
#
# A CSV with the columns `text` and `label` is enough; validation and test examples are held out of
# it:
#
# ```python
# bert_lightning.finetune(
#     "task=text", "data.path=reviews.csv", f"init_from={pretrained.run_dir}", "seeds=5"
# )
# ```
#
# Seeds tell luck from gain. `task=pair`, `number`, `tokens`, `sentence` and `question` are the
# other tasks: `docs/finetuning.md` has them all.
