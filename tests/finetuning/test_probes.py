"""Probes of a labelled split: which vectors they read, and what they find in them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import bert_lightning
from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.config import ModelConfig
from bert_lightning.config.task import Pooling, TaskKind
from bert_lightning.finetuning.encoding import encode_split
from bert_lightning.finetuning.labelled.examples import LabelledExample, label_names
from bert_lightning.finetuning.probes import probe_task, split_features
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.model.bert import BertForPreTraining

NOUNS, VERBS = ("crane", "fox", "river", "lamp"), ("left", "came", "sees", "lifts")
PIECES = ("the", "un", "##load", "##ing", *NOUNS, *VERBS)


@pytest.fixture
def bert() -> PretrainedBert:
    words = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *PIECES])}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    config = ModelConfig(hidden_size=32, intermediate_size=64, initializer_range=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForPreTraining(config, len(words))
    return PretrainedBert(model, tokenizer)


def sentences(count: int, seed: int) -> list[LabelledExample]:
    """Words with the part of speech that each always has."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        words = ("the", str(rng.choice(NOUNS)), str(rng.choice(VERBS)), "unloading")
        examples.append(LabelledExample(words, ["DET", "NOUN", "VERB", "VERB"], "here"))
    return examples


def test_a_word_has_the_vector_of_its_first_token(bert: PretrainedBert) -> None:
    examples = sentences(40, 0)
    names = label_names(examples)
    split = encode_split(examples, TaskKind.tokens, names, bert.tokenizer, 16)
    features = split_features(bert.model.encoder, split, Pooling.cls)
    assert features.shape == (3, 160, 32)
    for index in (0, 17, 39):
        words = " ".join(examples[index].texts)
        for layer in range(3):
            expected = bert.encode(words, layer=layer).vectors[1:5]
            ours = features[layer, 4 * index : 4 * index + 4]
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", [Pooling.cls, Pooling.mean])
def test_a_text_or_pair_has_the_vector_of_cls_or_the_mean(
    bert: PretrainedBert, pooling: Pooling
) -> None:
    texts = [("the crane left", "the fox"), ("the river", "lamp lamp lamp came"), ("fox", "crane")]
    examples = [
        LabelledExample(pair, label, "here") for pair, label in zip(texts, "aba", strict=True)
    ]
    split = encode_split(examples, TaskKind.pair, ["a", "b"], bert.tokenizer, 16)
    features = split_features(bert.model.encoder, split, pooling)
    for index, pair in enumerate(texts):
        vectors = bert.encode(*pair, layer=1).vectors
        expected = vectors[0] if pooling is Pooling.cls else vectors.mean(0)
        torch.testing.assert_close(features[1, index], expected, atol=1e-5, rtol=0)


def test_parts_of_speech_are_read_and_so_are_words_learned_by_heart(bert: PretrainedBert) -> None:
    train, held_out = sentences(60, 0), sentences(30, 1)
    names = label_names(train)
    found = probe_task(
        bert.model.encoder, bert.tokenizer, train, held_out, names,
        kind=TaskKind.tokens, max_length=16,
    )  # fmt: skip
    assert (found.examples, found.held_out, found.majority) == (240, 120, 0.5)
    assert found.layers[0].accuracy == found.mix.accuracy == 1.0
    assert found.layers[0].control == 1.0  # ten words, all of them in train
    assert found.layers[0].selectivity == 0.0


def test_a_text_is_probed_without_a_control_task(bert: PretrainedBert) -> None:
    rng = np.random.default_rng(0)
    examples = [
        LabelledExample((f"{rng.choice(NOUNS)} {verb} the {rng.choice(NOUNS)}",), verb, "here")
        for verb in rng.choice(VERBS, size=90)
    ]
    found = probe_task(
        bert.model.encoder, bert.tokenizer, examples[:60], examples[60:], label_names(examples),
        kind=TaskKind.text, max_length=16,
    )  # fmt: skip
    assert found.layers[0].accuracy == 1.0
    assert found.layers[0].control is None


def parts_of_speech(file: Path, count: int) -> list[LabelledExample]:
    """The first sentences of a file of `word<TAB>label`."""
    examples = []
    for block in file.read_text(encoding="utf-8").strip().split("\n\n")[:count]:
        words, labels = zip(*(line.split("\t") for line in block.split("\n")), strict=True)
        examples.append(LabelledExample(words, list(labels), "here"))
    return examples


@pytest.mark.slow
def test_minilm_knows_parts_of_speech_beyond_the_word(minilm: Path, labelled_data: Path) -> None:
    """The embeddings know the word, and learn it by heart; a middle layer knows its use."""
    train, test = (
        parts_of_speech(labelled_data / "ud-ewt" / f"{split}.conll", 100)
        for split in ("train", "dev")
    )
    bert = bert_lightning.load(minilm)
    names = label_names([*train, *test])
    found = probe_task(bert.model.encoder, bert.tokenizer, train, test, names, kind=TaskKind.tokens)
    word, used = found.layers[0], found.layers[3]
    assert word.low > found.majority
    assert used.low > word.accuracy
    assert used.accuracy > 0.85
    assert used.selectivity is not None
    assert word.selectivity is not None
    assert used.selectivity > word.selectivity > 0
