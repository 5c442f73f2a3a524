"""Corpora that several rooms test with; none of them needs a network."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from string import ascii_lowercase
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for tiny models threads are slower, before torch

import pytest
import torch

from bert_lightning.config import (
    BatchConfig,
    CorpusConfig,
    CorpusSource,
    Format,
    PairsConfig,
    TokenizerConfig,
)
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.store import PreparedCorpus

WIKITEXT_2 = Path(__file__).parents[2] / "shared" / "wikitext-2"
SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu")
VERBS = ("sees", "lifts", "paints", "follows", "opens", "leaves")
NOUNS = ("crane", "driver", "river", "bridge", "lamp", "garden", "letter", "field", "window")
ENDS = ("slowly", "at night", "in the old harbour", "near the wide river behind the town")


@pytest.fixture(scope="session")
def wikitext2() -> Path:
    """The folder of the real WikiText-2, where this machine has it."""
    if not (WIKITEXT_2 / "wiki.train.tokens").is_file():
        pytest.skip(f"no WikiText-2 at {WIKITEXT_2}")
    return WIKITEXT_2


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where this session's prepared corpora are kept."""
    return str(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def wikitext2_corpus(wikitext2: Path, cache_dir: str) -> PreparedCorpus:
    """The real WikiText-2, prepared."""
    data = CorpusConfig(name="wikitext2", path=str(wikitext2), cache_dir=cache_dir)
    return prepare(data, TokenizerConfig(), PairsConfig())


@pytest.fixture(scope="session")
def small_text() -> list[list[list[str]]]:
    """Documents → paragraphs → sentences; the first word of each sentence occurs in no other."""
    rng = random.Random(0)
    serial = iter(range(10**4))

    def sentence() -> str:
        name = "".join(SYLLABLES[int(digit)] for digit in f"{next(serial):04}").capitalize()
        objects = " and ".join(f"the {rng.choice(NOUNS)}" for _ in range(rng.randint(1, 4)))
        return f"{name} {rng.choice(VERBS)} {objects}{rng.choice(['', ' ' + rng.choice(ENDS)])}."

    return [
        [[sentence() for _ in range(rng.randint(2, 6))] for _ in range(rng.randint(1, 4))]
        for _ in range(40)
    ]


@pytest.fixture(scope="session")
def small_data(
    small_text: list[list[list[str]]], cache_dir: str, tmp_path_factory: pytest.TempPathFactory
) -> CorpusConfig:
    """The config of that text as two .txt files, with 20 % held out."""
    folder = tmp_path_factory.mktemp("small_text")
    documents = ["\n".join(map(" ".join, document)) for document in small_text]
    (folder / "a.txt").write_text("\n\n".join(documents[:15]), encoding="utf-8")
    (folder / "b.txt").write_text("\n\n\n".join(documents[15:]) + "\n", encoding="utf-8")
    return CorpusConfig(
        source=CorpusSource.text,
        path=str(folder),
        format=Format.prose,
        cache_dir=cache_dir,
        validation_fraction=0.2,
        test_fraction=0.0,
    )


@pytest.fixture(scope="session")
def small_batch() -> BatchConfig:
    """Batches of that text: 24 examples of up to 24 tokens."""
    return BatchConfig(max_length=24, global_batch_size=24)


@pytest.fixture(scope="session")
def small_corpus(small_data: CorpusConfig) -> PreparedCorpus:
    """That text, prepared: every word is in the vocabulary."""
    return prepare(small_data, TokenizerConfig(min_frequency=1), PairsConfig())


HF_VOCABULARY = (
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),  # not 0 to 4, as in BERT's own
    *("the", "crane", "is", "flying", "driver", "came", "he", "just", "left", "steel", "un"),
    *("##load", "##ing", "don", "'", ".", ",", "Crane"),
    *ascii_lowercase,
    *(f"##{letter}" for letter in ascii_lowercase),
)
HF_SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
    "type_vocab_size": 3,
}
"""Unequal, so that no two can be mistaken for one another."""


@pytest.fixture
def save_hf() -> Callable[..., Path]:
    """Has transformers save a model of a class, with random weights, and its tokenizer."""
    transformers = pytest.importorskip("transformers")

    def save(
        folder: Path, cls: str = "BertForPreTraining", cased: bool = False, **config: Any
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        config = {"vocab_size": len(HF_VOCABULARY) + 2, **HF_SIZES, **config}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = getattr(transformers, cls)(transformers.BertConfig(**config))
            for parameter in model.parameters():
                parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
        model.save_pretrained(folder)
        vocabulary = {word: number for number, word in enumerate(HF_VOCABULARY)}
        tokenizer = transformers.BertTokenizer(vocabulary, do_lower_case=not cased)
        tokenizer.save_pretrained(folder)
        return folder

    return save


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-golden", action="store_true", help="write the committed losses down anew"
    )
