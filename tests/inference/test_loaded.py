"""Loading: which checkpoint is taken, and what is refused."""

import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

import bert_lightning
from bert_lightning.errors import UserError
from bert_lightning.inference.loaded import PretrainedBert

Write = Callable[..., Path]
SeedOf = Callable[[PretrainedBert], int]
TEXT = "a crane is flying"


def test_a_checkpoint_gives_the_model_that_it_was_made_of(
    tmp_path: Path, write_checkpoint: Write, bert: PretrainedBert
) -> None:
    loaded = bert_lightning.load(write_checkpoint(tmp_path / "last.ckpt"))
    assert torch.equal(loaded.encode(TEXT).vectors, bert.encode(TEXT).vectors)
    assert not loaded.model.training
    tied = loaded.model.mlm_head.decoder.weight
    assert tied is loaded.model.encoder.embeddings.word.weight


def test_it_is_shown_in_one_line(
    tmp_path: Path, write_checkpoint: Write, bert: PretrainedBert
) -> None:
    path = write_checkpoint(tmp_path / "last.ckpt")
    parameters = sum(parameter.numel() for parameter in bert.model.parameters())
    sizes = f"2 layers, 128 hidden, 2 heads, {parameters:,} parameters, 24 tokens"
    assert repr(bert) == f"PretrainedBert({sizes})"
    assert repr(bert_lightning.load(path)) == f"PretrainedBert({sizes}; from {path})"


def test_loading_leaves_the_global_random_state(tmp_path: Path, write_checkpoint: Write) -> None:
    path = write_checkpoint(tmp_path / "last.ckpt")
    before = torch.random.get_rng_state()
    bert_lightning.load(path)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_best_goes_before_the_last_and_a_later_best_first(
    tmp_path: Path, seed_of: SeedOf, write_checkpoint: Write
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    write_checkpoint(folder / "last.ckpt", seed=1)
    assert seed_of(bert_lightning.load(tmp_path / "run")) == 1
    write_checkpoint(folder / "best-step=001000.ckpt", seed=2)
    write_checkpoint(folder / "best-step=000900.ckpt", seed=3)
    assert seed_of(bert_lightning.load(tmp_path / "run")) == 2
    assert seed_of(bert_lightning.load(str(folder))) == 2


def test_a_folder_of_runs_gives_the_newest_with_a_checkpoint(
    tmp_path: Path, seed_of: SeedOf, write_checkpoint: Write, caplog: pytest.LogCaptureFixture
) -> None:
    old = write_checkpoint(tmp_path / "z_old/checkpoints/last.ckpt", seed=1)
    new = write_checkpoint(tmp_path / "day/a_new/checkpoints/last.ckpt", seed=2)
    os.utime(old, (1000, 1000))
    os.utime(new, (2000, 2000))
    (tmp_path / "newest_without" / "checkpoints").mkdir(parents=True)
    with caplog.at_level(logging.INFO):
        assert seed_of(bert_lightning.load(tmp_path)) == 2
    assert str(new) in caplog.text
    os.utime(old, (3000, 3000))
    assert seed_of(bert_lightning.load(tmp_path)) == 1


def test_a_tokenizer_that_cuts_and_pads_does_so_no_more(
    tmp_path: Path, write_checkpoint: Write, tokenizer: Tokenizer
) -> None:
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=12)
    loaded = bert_lightning.load(write_checkpoint(tmp_path / "last.ckpt"))
    assert loaded.encode(TEXT).vectors.shape == (6, 128)


def test_a_missing_path_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        bert_lightning.load("runs/absent")
    assert f"{tmp_path / 'runs/absent'} does not exist" in str(caught.value)
    assert f"the working directory is {tmp_path})" in str(caught.value)


def test_a_folder_without_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no checkpoint: .*best\.ckpt.*last"):
        bert_lightning.load(tmp_path)


def test_a_url_is_refused() -> None:
    with pytest.raises(UserError, match=r"https://a\.b/last\.ckpt is a URL.*download it"):
        bert_lightning.load("https://a.b/last.ckpt")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.999])
def test_a_truncated_file_is_corrupt(tmp_path: Path, write_checkpoint: Write, keep: float) -> None:
    path = write_checkpoint(tmp_path / "last.ckpt")
    whole = path.read_bytes()
    size = keep if isinstance(keep, int) else int(keep * len(whole))
    path.write_bytes(whole[:size])
    with pytest.raises(UserError, match=rf"last\.ckpt is corrupt \({size} bytes"):
        bert_lightning.load(path)


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_a_flipped_bit_is_corrupt(tmp_path: Path, write_checkpoint: Write, where: float) -> None:
    path = write_checkpoint(tmp_path / "last.ckpt")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    at = largest.header_offset + 200 + int(where * (largest.file_size - 400))
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is corrupt \(the checksum of .* does not match\)"):
        bert_lightning.load(path)


def test_corruption_of_the_directory_of_the_archive_is_corrupt_or_harmless(
    tmp_path: Path, write_checkpoint: Write, bert: PretrainedBert
) -> None:
    path = write_checkpoint(tmp_path / "last.ckpt")
    content = path.read_bytes()
    expected, refused = bert.encode(TEXT).vectors, 0
    for back in range(30, 400, 37):
        path.write_bytes(content[:-back] + bytes([content[-back] ^ 0xFF]) + content[1 - back :])
        try:
            assert torch.equal(bert_lightning.load(path).encode(TEXT).vectors, expected)
        except UserError:
            refused += 1
    assert refused


def test_a_corrupted_best_is_skipped_with_a_warning(
    tmp_path: Path, seed_of: SeedOf, write_checkpoint: Write, caplog: pytest.LogCaptureFixture
) -> None:
    best = write_checkpoint(tmp_path / "checkpoints/best-step=000100.ckpt", seed=1)
    last = write_checkpoint(tmp_path / "checkpoints/last.ckpt", seed=2)
    best.write_bytes(best.read_bytes()[:5000])
    with caplog.at_level(logging.INFO):
        assert seed_of(bert_lightning.load(tmp_path)) == 2
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert f"{best} is corrupt" in warnings[0].getMessage()
    assert f"loaded {last}" in caplog.text
    last.write_bytes(b"")
    with pytest.raises(UserError, match="corrupt"):
        bert_lightning.load(tmp_path)


def test_a_pickle_inside_is_refused_without_a_way_round(
    tmp_path: Path, write_checkpoint: Write
) -> None:
    inside = write_checkpoint(
        tmp_path / "inside.ckpt", change=lambda c: c.update(part=Fraction(1, 2))
    )
    bare = tmp_path / "bare.ckpt"
    bare.write_bytes(pickle.dumps({"part": Fraction(1, 2)}))
    for path in (inside, bare):
        with pytest.raises(UserError, match="is refused: it holds Python objects") as caught:
            bert_lightning.load(path)
        assert "weights_only" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_a_checkpoint_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "weights": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"'bert_lightning' \(format 2\).*entries epoch, weights"):
        bert_lightning.load(path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(UserError, match=r"not a checkpoint of bert-lightning.*is a Tensor"):
        bert_lightning.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letter.txt", "dear reader")
    with pytest.raises(UserError, match=r"not a checkpoint of bert-lightning.*torch can read"):
        bert_lightning.load(path)


def test_a_later_format_is_refused(tmp_path: Path, write_checkpoint: Write) -> None:
    path = write_checkpoint(
        tmp_path / "last.ckpt", change=lambda c: c["bert_lightning"].update(format=3)
    )
    with pytest.raises(UserError, match=r"has format 3, .* reads format 2"):
        bert_lightning.load(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model", {"hidden_act": "gelu", "rotary": True}, "rotary"),
        ("model", {"hidden_act": "swish"}, "swish"),
        ("model", {"hidden_act": "gelu", "hidden_size": 64}, "size mismatch"),
        ("tokenizer", "{}", "ValueError"),
        ("vocab_size", None, "TypeError"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_why(
    tmp_path: Path, write_checkpoint: Write, name: str, value: object, message: str
) -> None:
    path = write_checkpoint(
        tmp_path / "last.ckpt", change=lambda c: c["bert_lightning"].update({name: value})
    )
    with pytest.raises(UserError, match=rf"(?s)last\.ckpt does not fit.*{message}"):
        bert_lightning.load(path)


def test_a_missing_weight_is_named(tmp_path: Path, write_checkpoint: Write) -> None:
    path = write_checkpoint(
        tmp_path / "last.ckpt", change=lambda c: c["state_dict"].pop("model.nsp_head.bias")
    )
    with pytest.raises(UserError, match=r"(?s)does not fit.*nsp_head\.bias"):
        bert_lightning.load(path)


def test_the_package_says_its_version() -> None:
    assert bert_lightning.__version__[0].isdigit()
