"""Corpora that several rooms test with; none of them needs a network."""

import random
from pathlib import Path

import pytest

from bert_lightning.config import DataConfig, Format, Source, TokenizerConfig
from bert_lightning.data.prepare import prepare
from bert_lightning.data.store import PreparedCorpus

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
    data = DataConfig(name="wikitext2", path=str(wikitext2), cache_dir=cache_dir)
    return prepare(data, TokenizerConfig())


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
) -> DataConfig:
    """The config of that text as two .txt files, with 20 % held out."""
    folder = tmp_path_factory.mktemp("small_text")
    documents = ["\n".join(map(" ".join, document)) for document in small_text]
    (folder / "a.txt").write_text("\n\n".join(documents[:15]), encoding="utf-8")
    (folder / "b.txt").write_text("\n\n\n".join(documents[15:]) + "\n", encoding="utf-8")
    return DataConfig(
        source=Source.text,
        path=str(folder),
        format=Format.prose,
        cache_dir=cache_dir,
        validation_share=0.2,
        max_length=24,
        global_batch_size=24,
    )


@pytest.fixture(scope="session")
def small_corpus(small_data: DataConfig) -> PreparedCorpus:
    """That text, prepared: every word is in the vocabulary."""
    return prepare(small_data, TokenizerConfig(min_frequency=1))
