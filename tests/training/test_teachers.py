"""Training that learns from trained models."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch

from bert_lightning.config import ObjectiveConfig, TrainConfig
from bert_lightning.corpus.tokenizer import Tokenizer
from bert_lightning.data.evaluation_set import EvaluationSet
from bert_lightning.errors import UserError
from bert_lightning.inference.export import export
from bert_lightning.pretrained.sources import build, open_source
from bert_lightning.pretrained.teachers import Teachers, build_teachers, open_teachers
from bert_lightning.training.fit import FitResult, fit
from bert_lightning.training.module import PretrainingModule

Config = Callable[..., TrainConfig]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def taught_by(small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> list[FitResult]:
    """Two teachers of different sizes."""
    folder = tmp_path_factory.mktemp("teachers")
    options = (("seed=1",), ("seed=2", "model.hidden_size=48"))
    return [
        fit(small_config(folder / str(number), "trainer.max_steps=12", *more))
        for number, more in enumerate(options)
    ]


def opened(config: TrainConfig, tokenizer: Tokenizer, rows: int) -> tuple[Any, list[str]]:
    return build_teachers(config, open_teachers(config), tokenizer, rows)


def names(taught_by: list[FitResult]) -> str:
    return f"objective.teachers=[{','.join(str(one.config.run_dir) for one in taught_by)}]"


def test_teachers_answer_by_the_mean_of_their_logits(
    taught_by: list[FitResult], small_config: Config, tmp_path: Path
) -> None:
    config = small_config(tmp_path, names(taught_by), "objective.teacher_fraction=0.75")
    corpus = taught_by[0].corpus
    rows = open_source(taught_by[0].config.run_dir).vocab_size
    teachers, hashes = opened(config, corpus.tokenizer, rows)
    assert teachers is not None
    assert len(set(hashes)) == 2
    batch = EvaluationSet(corpus, "validation", config.batch, rows).batches(16)[0]
    taught = teachers(batch)
    models = [build(open_source(one.config.run_dir)) for one in taught_by]
    answers = [model(batch.sequences, batch.masked_positions) for model in models]
    with torch.no_grad():
        words = [m.mlm_head(a.masked) for m, a in zip(models, answers, strict=True)]
        pairs = [m.nsp_head(a.pooled) for m, a in zip(models, answers, strict=True)]
    ours = taught.vectors @ taught.weight.T + taught.bias
    torch.testing.assert_close(ours, torch.stack(words).mean(0))
    torch.testing.assert_close(taught.pairs, torch.stack(pairs).mean(0))
    assert taught.fraction == 0.75
    assert not ours.requires_grad


def test_a_run_learns_what_its_teacher_knows(
    taught_by: list[FitResult], small_config: Config, tmp_path: Path
) -> None:
    """From the teacher alone, at the labels' own pace and held to its own validation loss."""

    def distance(result: FitResult) -> float:
        """How far the model's logits are from those of the teacher."""
        source = open_source(taught_by[0].config.run_dir)
        batch = EvaluationSet(
            result.corpus, "validation", result.config.batch, source.vocab_size
        ).batches(16)[0]
        teacher, student = build(source), result.model.eval()
        with torch.no_grad():
            theirs, ours = (
                model.mlm_head(model(batch.sequences, batch.masked_positions).masked).log_softmax(1)
                for model in (teacher, student)
            )
        return (theirs.exp() * (theirs - ours)).sum(1).mean().item()

    options = ["trainer.max_steps=40", "optim.lr=3e-3", "seed=3"]
    alone = fit(small_config(tmp_path / "alone", *options))
    only = [names(taught_by[:1]), "objective.teacher_fraction=1"]
    taught = fit(small_config(tmp_path / "taught", *options, *only))
    assert distance(taught) < 0.5 * distance(alone)


@pytest.mark.parametrize("more", [[], ["trainer.precision=bf16-mixed", "optim.ema_decay=0.9"]])
def test_a_taught_run_resumes_bit_exactly_and_keeps_nothing_of_its_teachers(
    taught_by: list[FitResult], small_config: Config, tmp_path: Path, more: list[str]
) -> None:
    options = [names(taught_by), "model.hidden_dropout_prob=0.1", *more]
    whole = fit(small_config(tmp_path / "whole", *options, "callbacks.save_top_k=9"))
    for step in (3, 6):
        found = [*Path(tmp_path, "whole", "checkpoints").glob(f"*step={step:06}.ckpt")]
        assert found, step
    part = tmp_path / "part" / "checkpoints"
    part.mkdir(parents=True)
    for name in found[0].parent.glob("*step=000003.ckpt*"):
        (part / name.name).write_bytes(name.read_bytes())
    resumed = fit(small_config(part.parent, *options, f"resume={part.parent}"))
    for (name, ours), theirs in zip(
        resumed.model.state_dict().items(), whole.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    checkpoint = torch.load(found[0], weights_only=True)
    assert not [name for name in checkpoint["state_dict"] if "teacher" in name]
    assert len(checkpoint["bert_lightning"]["teachers"]) == 2


def test_a_run_does_not_resume_with_other_teachers(
    taught_by: list[FitResult], small_config: Config, tmp_path: Path
) -> None:
    """A folder of the same name may hold another model by then."""
    place = tmp_path / "teacher"
    export(taught_by[0].config.run_dir, place)
    options = [f"objective.teachers=[{place}]"]
    fit(small_config(tmp_path / "run", *options, "trainer.max_steps=4"))
    for file in place.iterdir():
        file.unlink()
    export(fit(small_config(tmp_path / "c", "seed=9", "trainer.max_steps=1")).config.run_dir, place)
    again = small_config(
        tmp_path / "run", *options, "trainer.max_steps=6", f"resume={tmp_path / 'run'}"
    )
    with pytest.raises(UserError, match=r"the weights of objective.teachers are not those of"):
        fit(again)


def test_what_does_not_fit_is_refused(
    taught_by: list[FitResult], small_config: Config, tmp_path: Path
) -> None:
    corpus, name = taught_by[0].corpus, names(taught_by)
    rows = open_source(taught_by[0].config.run_dir).vocab_size
    config = small_config(tmp_path, name)
    with pytest.raises(UserError, match=rf"has {rows} rows .*model.vocab_size={rows}"):
        opened(config, corpus.tokenizer, rows + 8)
    long = small_config(tmp_path, name, "batch.max_length=600", "model.max_position_embeddings=600")
    with pytest.raises(UserError, match=r"batch.max_length=600 is more than the 512 positions"):
        open_teachers(long)
    other = small_config(tmp_path, name, "tokenizer=wordpiece", "tokenizer.vocab_size=90")
    with pytest.raises(UserError, match=r"has another tokenizer .*tokenizer.path"):
        fit(other)
    lost = small_config(tmp_path, "objective.teachers=[nowhere]", "data.path=no_text_either")
    with pytest.raises(UserError, match="nowhere does not exist"):
        fit(lost)  # before a text is prepared


def test_options_that_contradict_teachers_are_refused() -> None:
    with pytest.raises(UserError, match=r"objective.sampled_words=8 with objective.teachers"):
        ObjectiveConfig(teachers=["runs/a"], sampled_words=8)
    with pytest.raises(UserError, match=r"objective.teacher_fraction=0.7 without objective.teach"):
        ObjectiveConfig(teacher_fraction=0.7)


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ([], True),
        (["batch.pairs.task=sop"], False),
        (["pairs=none"], False),
        (["objective.nsp_weight=0"], False),
    ],
)
def test_teachers_judge_pairs_where_they_learned_the_same(
    taught_by: list[FitResult],
    small_config: Config,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    options: list[str],
    pairs: bool,
) -> None:
    config = small_config(tmp_path, names(taught_by), *options)
    rows = open_source(taught_by[0].config.run_dir).vocab_size
    with caplog.at_level(logging.INFO):
        teachers, _ = opened(config, taught_by[0].corpus.tokenizer, rows)
    assert isinstance(teachers, Teachers)
    assert teachers.pairs is pairs
    assert ("never learned SOP" in caplog.text) == (options == ["batch.pairs.task=sop"])
    assert ("masked tokens and pairs from" in caplog.text) == pairs


@pytest.mark.slow
def test_two_devices_learn_from_teachers_what_one_does(
    taught_by: list[FitResult], small_run: Callable[..., list[str]], tmp_path: Path
) -> None:
    losses = []
    for devices in (1, 2):
        done = forked.run(
            ROOT / "train.py",
            *small_run(names(taught_by), f"trainer.devices={devices}"),
            f"hydra.run.dir={tmp_path / str(devices)}",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        losses.append(open_source(tmp_path / str(devices)).state)
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, rtol=1e-3, atol=2e-4, msg=name)


def test_the_module_asks_its_teachers_in_training_alone(
    taught_by: list[FitResult], small_config: Config, tmp_path: Path, monkeypatch: Any
) -> None:
    asked = []
    answer = Teachers.__call__

    def count(self: Teachers, batch: Any) -> Any:
        asked.append(len(batch.masked_labels))
        return answer(self, batch)

    monkeypatch.setattr(Teachers, "__call__", count)
    result = fit(small_config(tmp_path, names(taught_by), "trainer.max_steps=3"))
    assert len(asked) == 3
    assert isinstance(result.model, type(PretrainingModule(result.config, 9, 1, [1], {}).model))
