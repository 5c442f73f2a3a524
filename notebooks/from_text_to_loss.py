# %% [markdown]
# # From text to loss in one sitting
#
# A sentence becomes a pair, the pair gets masks, pairs become a batch, the batch goes through the
# encoder, and two heads turn it into one loss. Each cell shows one of these steps with the
# function that a training run calls, so what you see is what is trained. Then a short run draws a
# curve, and the word *crane* becomes a number and a picture. All of it takes about two minutes,
# with the built-in text.
#
# The text is WikiText-2, from a folder `wikitext-2` beside this notebook, the cache or the Hugging
# Face hub. Where there is none, it is the documentation that every Python carries.

# %%
import math
import os
from pathlib import Path

import numpy as np
import torch

import bert_lightning
from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    TrainerConfig,
)

BUDGET = os.environ.get("NOTEBOOK_BUDGET", "2min")  # of training
config = TrainConfig(
    data=CorpusConfig(path="wikitext-2" if Path("wikitext-2").is_dir() else None),
    batch=BatchConfig(global_batch_size=64),
    model=ModelConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    optim=OptimConfig(time_budget=BUDGET),
    trainer=TrainerConfig(val_check_interval=200),
)

# %% [markdown]
# ## A sentence
#
# A paragraph is split where its sentences end: *Dr.* and *e.g.* end none. (WikiText, whose marks
# stand between spaces, is split at ` . ` alone, as in the textbook.)

# %%
from bert_lightning.corpus.sentences import split_prose

split_prose("A crane is flying. Dr. Lee saw it, e.g. at noon. A crane driver came; he just left.")

# %% [markdown]
# `prepare` does this with the whole text, holds documents out for validation and test, builds the
# vocabulary, and keeps the token ids in files that are mapped into memory.

# %%
from bert_lightning.corpus.prepare import prepare

corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
print(corpus.name, "from", corpus.origin)
for name, split in corpus.splits.items():
    print(f"{name}: {split.documents:,} documents, {split.sentences:,} sentences")

# %% [markdown]
# A sentence is a row of token ids. `[UNK]` stands for a word that the vocabulary lacks.

# %%
tokenizer = corpus.tokenizer
encoding = tokenizer.encode("a crane is flying")
print(f"{tokenizer.get_vocab_size():,} tokens in the vocabulary")
print(encoding.tokens)
print(encoding.ids)

# %% [markdown]
# ## Its pair
#
# For next-sentence prediction (NSP) each sentence gets a second one: in half of the pairs the one
# that follows, in the others a random one of another document.

# %%
from bert_lightning.batch import IS_NEXT
from bert_lightning.data.pairs import pair_sampler

train = corpus.splits["train"]
sampler = pair_sampler(train, config.batch.pairs, config.batch.max_length)


def text(ids):
    return " ".join(tokenizer.id_to_token(int(index)) for index in ids)


def show(pairs):
    for a, a_length, b, b_length, label in zip(*pairs, strict=True):
        print("next:  " if label == IS_NEXT else "random:", text(train.token_ids[a : a + a_length]))
        print("       ", text(train.token_ids[b : b + b_length]))


show(sampler.sample(np.arange(3), 0, 0))  # of seed 0 and epoch 0

# %% [markdown]
# A pair is a function of its number, the seed and the epoch. So the first three pairs are new ones
# in epoch 1, and those of epoch 0 are the same in every run.

# %%
show(sampler.sample(np.arange(3), 0, 1))

# %% [markdown]
# ## Its masks
#
# For masked language modeling (MLM) 15 % of the tokens are chosen. Of these 80 % become `[MASK]`,
# 10 % become a random word, and 10 % stay as they are. The model predicts all of them.

# %%
from bert_lightning.data.statistics import training_sample

batch = training_sample(corpus, config.batch, seed=0)[0]
sequences = batch.sequences
length = sequences.lengths[0]
print(text(sequences.token_ids[:length]), "\n")
for position, label in zip(batch.masked_positions, batch.masked_labels, strict=True):
    if position < length:
        shown = tokenizer.id_to_token(int(sequences.token_ids[position]))
        print(f"{int(position):3} {shown:12} was {tokenizer.id_to_token(int(label))}")

# %% [markdown]
# ## The batch
#
# All pairs stand in one row, one after the other. `cu_seqlens` says where each starts, so there is
# no padding.

# %%
for name, values in sequences._asdict().items():
    print(f"{name:15} {tuple(values.shape)}")
print(f"masked_labels   {tuple(batch.masked_labels.shape)}")

total, padded = sequences.lengths.sum(), len(sequences.lengths) * config.batch.max_length
print(f"\n{total:,} tokens; padded to {config.batch.max_length} each they would be {padded:,}")

# %% [markdown]
# ## The encoder
#
# The vector of a token is the sum of its word's, its segment's and its position's. Two blocks of
# attention and feed-forward layers follow, and the shape stays `(tokens, hidden)`.

# %%
from bert_lightning.model.bert import BertForPreTraining

torch.manual_seed(0)
model = BertForPreTraining(config.model, tokenizer.get_vocab_size())
for layer, x in enumerate(model.encoder.layers(sequences)):
    print("layer", layer, tuple(x.shape))

# %% [markdown]
# The heads read three things: the vector of each token, one vector for each pair, made of its
# `[CLS]`, and the vectors of the masked tokens alone.

# %%
encoded = model(sequences, batch.masked_positions)
for name, x in encoded._asdict().items():
    print(f"{name:7} {tuple(x.shape)}")

# %% [markdown]
# ## The joint loss
#
# Each objective is a sum over its labels. Divided by their number, it is a mean in nats. A model
# that knows nothing scores about the logarithm of the number of choices.

# %%
sums = model.sums(batch)
choices = {"mlm": tokenizer.get_vocab_size(), "nsp": 2}
for name, objective in sums.items():
    mean = objective.nll.item() / objective.labels.item()
    print(f"{name}: {mean:.3f} nats; {math.log(choices[name]):.3f} by guessing")

# %% [markdown]
# The joint loss is the weighted sum of the two means, and its gradient trains the model.

# %%
from bert_lightning.model.objective import joint_loss

loss = joint_loss(sums, batch.global_counts, config.weights)
loss.backward()
print(f"joint loss {loss.item():.3f}")
print(f"gradient of the word vectors {tuple(model.encoder.embeddings.word.weight.grad.shape)}")

# %% [markdown]
# The mean is over the masked tokens. A batch padded to a fixed number of slots has to leave the
# empty ones out of it: the textbook's PyTorch code counts them in, and so prints a loss that is
# too low.

# %%
slots = len(sequences.lengths) * round(0.15 * config.batch.max_length)
print(f"{len(batch.masked_labels):,} masked tokens; padded there would be {slots:,} slots")

# %% [markdown]
# ## A curve
#
# `fit` does all of the above, step after step for two minutes, and evaluates the held-out
# documents. Compare each loss with its baseline: the unigram baseline predicts a masked word by
# its frequency.

# %%
result = bert_lightning.fit(config)
result

# %% [markdown]
# ## A masked word

# %%
result.bert.fill_mask("the value of [MASK] is not known", top=5)

# %% [markdown]
# ## The crane as a number
#
# One word, two contexts, two vectors. Their cosine would be 1 if the context did not matter.

# %%
result.bert.similarity("crane", "a crane is flying", "a crane driver came")

# %% [markdown]
# ## The crane as a picture
#
# The vectors of a word in many sentences, its senses in colors, layer by layer. The title of a
# layer says how often its vectors tell the sense of a sentence that was held out.
#
# Python's documentation has no crane. Its word of two senses is *for*: a statement, and a purpose.

# %%
from bert_lightning.pictures import draw

FOR = """
statement	the for statement is used to iterate over the elements of a sequence
statement	a for loop ends when the iterator is exhausted
statement	the target of a for loop is not deleted when the loop is finished
statement	a break statement terminates the nearest enclosing for or while loop
statement	if a for loop is terminated by break , the loop target keeps its value
statement	a continue statement may only occur in a for or while loop
statement	an async for statement iterates over an asynchronous iterator
statement	the while statement and the for statement may have an else clause
purpose	this method is used for the creation of new objects
purpose	for example , the value of the expression is a string
purpose	the default value for this argument is none
purpose	see the documentation for more information
purpose	the rules for the names of attributes are the same
purpose	it is called for each item of the list
purpose	a type is needed for the left operand
purpose	names are used for modules and classes
"""
if tokenizer.token_to_id("crane") is not None:
    picture = draw.word(result.bert, "crane")
else:
    Path("for.tsv").write_text(FOR.strip(), encoding="utf-8")
    picture = draw.word(result.bert, "for", "for.tsv")
picture

# %% [markdown]
# ## Where to go from here
#
# - Each cell named the file it comes from: read them in the order of the README's *How it is made*.
# - Train longer: `BUDGET = "8min"`, or `python train.py experiment=tiny_8min`.
# - Change one thing, such as `config.batch.masking.mlm_probability = 0.4`, and compare the curves.
# - Fine-tune the model: `pretrain_then_finetune.ipynb`.
