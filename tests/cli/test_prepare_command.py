"""`bert-lightning prepare`, and what `plan` says of a preparation before it."""

from pathlib import Path

import pytest

from bert_lightning.cli.main import command
from bert_lightning.config import (
    CorpusConfig,
    CorpusSource,
    Format,
    PairsConfig,
    TokenizerConfig,
    TrainConfig,
)
from bert_lightning.corpus.catalog import list_corpora
from bert_lightning.corpus.preparation import forecast as measuring
from bert_lightning.corpus.preparation.forecast import forecast
from bert_lightning.corpus.prepare import prepare
from bert_lightning.reports.preparation_report import forecast_sentence, show_preparation

CapSys = pytest.CaptureFixture[str]


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    blocks = [f"The crane {number} is here. It was there. Nobody saw it." for number in range(60)]
    text = "\n\n".join([*blocks, "One sentence only."])
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    data = CorpusConfig(
        source=CorpusSource.text,
        path=str(tmp_path / "a.txt"),
        format=Format.prose,
        cache_dir=str(tmp_path / "cache"),
    )
    return TrainConfig(data=data)


def test_it_says_what_it_made_and_the_second_time_that_it_was_there(
    config: TrainConfig, capsys: CapSys
) -> None:
    show_preparation(config)
    first = capsys.readouterr().out
    (entry,) = list_corpora(Path(str(config.data.cache_dir)))
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
    tokens = f"{len(corpus.splits['train'].token_ids):,}"
    (line,) = [line for line in first.splitlines() if line.startswith("train")]
    assert line.split()[-1] == tokens
    assert "left out: 1 paragraphs of fewer than 2 sentences" in first
    assert str(entry.folder) in first
    assert "\nprepared in " in first
    show_preparation(config)
    again = capsys.readouterr().out
    assert "\nwas prepared before" in again
    assert again.splitlines()[:4] == first.splitlines()[:4]
    assert list_corpora(entry.folder.parent)[0].built == entry.built


def test_a_forecast_is_measured_on_the_text_and_knows_the_store(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "SECONDS", 100)
    whole = forecast(config.data, config.tokenizer, config.batch.pairs, None)
    assert whole is not None
    assert whole.sample is not None
    size = Path(str(config.data.path)).stat().st_size / 1e6
    assert whole.megabytes == whole.sample.megabytes == size
    assert whole.seconds == pytest.approx(whole.sample.seconds)
    assert "MB of text takes about 0 s, at " in forecast_sentence(whole)
    monkeypatch.setattr(measuring, "SAMPLE", 0)
    begun = forecast(config.data, config.tokenizer, config.batch.pairs, None)
    assert begun is not None
    assert begun.sample is not None
    grown = begun.sample.store_megabytes * size / begun.sample.megabytes
    assert begun.store_megabytes == pytest.approx(grown)
    corpus = prepare(config.data, config.tokenizer, config.batch.pairs)
    (entry,) = list_corpora(Path(str(config.data.cache_dir)))
    arrays = sum(file.stat().st_size for file in entry.folder.glob("*/*s.bin"))
    assert whole.store_megabytes == pytest.approx(arrays / 1e6, rel=0.2)
    stored = forecast(config.data, config.tokenizer, config.batch.pairs, None)
    assert stored is not None
    assert forecast_sentence(stored) == f"The corpus is prepared already: {entry.folder}."
    assert corpus.key[:16] in entry.folder.name


def test_a_text_in_no_files_has_no_forecast() -> None:
    builtin = CorpusConfig(source=CorpusSource.builtin)
    assert forecast(builtin, TokenizerConfig(), PairsConfig(), None) is None


def test_the_command_takes_the_options_of_train(config: TrainConfig, capsys: CapSys) -> None:
    path, cache = config.data.path, config.data.cache_dir
    command("prepare")(["data=text", f"data.path={path}", f"data.cache_dir={cache}"])
    assert "prepared in" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        command("prepare")(["data=text", f"data.path={path}.absent"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("error: ") == 1
