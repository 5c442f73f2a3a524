"""The pictures show the numbers that they were made of, and are files that open."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch.nn.functional import cosine_similarity

from bert_lightning.cli.commands import look
from bert_lightning.cli.parsers import parse
from bert_lightning.errors import UserError
from bert_lightning.evaluation.sense_files import read_occurrences
from bert_lightning.evaluation.senses import score_senses
from bert_lightning.inference.loaded import PretrainedBert, load
from bert_lightning.pictures import draw
from bert_lightning.pictures.curves import Line, Panel, curves_figure
from bert_lightning.pictures.losses import joint_loss_figure
from bert_lightning.pictures.style import COLORS, Picture
from bert_lightning.pictures.words import principal_components

PAIR = ("the crane flies", "the crane lifts steel")


class TestJointLoss:
    def test_its_areas_are_the_weighted_losses_and_their_baselines(self, run: Path) -> None:
        training, validation = draw.loss(run).axes
        lines = {str(line.get_label()): np.asarray(line.get_ydata()) for line in training.lines}
        assert list(lines) == ["2 × NSP", "baseline, NSP", "MLM", "baseline, NSP + MLM"]
        assert np.allclose(lines["2 × NSP"], [1.4, 1.2, 1.0])
        assert np.allclose(lines["MLM"], [8.4, 7.2, 6.0])  # from the bottom: the joint loss
        assert np.allclose(lines["baseline, NSP"], 1.5)
        assert np.allclose(lines["baseline, NSP + MLM"], 7.75)
        areas = [area.get_paths()[0].get_extents() for area in training.collections]
        assert np.allclose([area.y0 for area in areas], [0, 1])
        title = validation.get_title("left")
        assert title == (
            "validation, at its end:\nMLM 5.50 (baseline 6.25), NSP 0.55 (baseline 0.75)"
        )

    def test_a_run_that_lasts_has_no_baselines_yet(self, run: Path) -> None:
        (run / "summary.json").unlink()
        picture = draw.loss(run)
        assert len(picture.axes[0].lines) == 2
        assert "not at its end yet" in picture.get_suptitle()

    @pytest.mark.parametrize("weights", [{"mlm": 1.0}, {"mlm": 1.0, "nsp": 0.0}])
    def test_one_objective_is_no_sum(self, weights: dict[str, float]) -> None:
        curves = {f"train/{name}_loss": [(1, 1.0)] for name in ("mlm", "nsp")}
        with pytest.raises(UserError, match=r"r has 1 objective.*\(mlm\).* loss.png"):
            joint_loss_figure(curves, weights, {}, "r")


class TestWord:
    def test_each_layer_has_its_accuracy_and_every_sentence(
        self, bert: PretrainedBert, cranes: Path
    ) -> None:
        picture = draw.word(bert, "crane", cranes)
        scores = score_senses(bert, "crane", read_occurrences(cranes), None)
        titles = [axes.get_title() for axes in picture.axes]
        names = ("0 (embeddings)", "1", "2")
        assert titles == [
            f"layer {name}: {layer.accuracy:.0%}"
            for name, layer in zip(names, scores.layers, strict=True)
        ]
        assert "majority: 60%" in picture.get_suptitle()
        assert "“crane” in 5 sentences" in picture.get_suptitle()
        for axes in picture.axes:
            counts = {part.get_label(): len(part.get_offsets()) for part in axes.collections}
            assert counts == {"bird": 3, "machine": 2}
        (legend,) = picture.legends
        assert [text.get_text() for text in legend.get_texts()] == ["bird", "machine"]

    def test_components_keep_the_distances_of_vectors_in_a_plane(self) -> None:
        torch.manual_seed(0)
        plane = torch.randn(9, 2) @ torch.linalg.qr(torch.randn(16, 2))[0].T + 3
        torch.testing.assert_close(torch.cdist(principal_components(plane), torch.zeros(1, 2)),
                                   (plane - plane.mean(0)).norm(dim=1, keepdim=True))  # fmt: skip

    def test_rounding_is_no_component(self) -> None:
        same = torch.ones(9, 16) + 1e-6 * torch.randn(9, 16)
        assert not principal_components(same).any()

    def test_our_own_sentences_have_twenty_of_each_sense(self) -> None:
        (file,) = draw.SENTENCES.glob("*.tsv")
        senses = [str(one.sense) for one in read_occurrences(file)]
        assert file.stem == "crane"
        assert {sense: senses.count(sense) for sense in senses} == dict.fromkeys(
            ("bird", "machine", "verb"), 20
        )

    @pytest.mark.parametrize(
        ("word", "text", "message"),
        [
            ("heron", None, "sentences of our own for crane, not for 'heron': give --sentences"),
            ("heron", "a\tthe crane\n" * 2 + "b\tthe crane\n" * 2, "'heron' is not in the text"),
            ("crane", "a\tthe crane\na\tthe crane flies\n", "at least two senses are needed"),
            ("crane", "a\tthe crane\na\ta crane\nb\ta crane\n", "the only sentence with the sense"),
            ("crane", "the crane\nthe crane flies\n", "has no sense: write sense<TAB>sentence"),
        ],
    )
    def test_sentences_that_do_not_do(
        self, bert: PretrainedBert, tmp_path: Path, word: str, text: str | None, message: str
    ) -> None:
        file = None if text is None else tmp_path / "senses.tsv"
        if file is not None and text is not None:
            file.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            draw.word(bert, word, file)


class TestLearning:
    def test_its_points_are_the_cosines_at_each_checkpoint(self, run: Path, cranes: Path) -> None:
        above, below = draw.learning(run, "crane", cranes).axes
        within, between = (np.asarray(line.get_xydata()) for line in above.lines)
        assert within[:, 0].tolist() == between[:, 0].tolist() == [2, 4, 6]
        last = load(run / "checkpoints" / "step=000006.ckpt")
        found = read_occurrences(cranes)
        vectors = [last.encode(one.sentence).word("crane") for one in found]
        same: dict[bool, list[float]] = {True: [], False: []}
        for a in range(5):
            for b in range(a):
                cosine = cosine_similarity(vectors[a], vectors[b], dim=0)
                same[found[a].sense == found[b].sense].append(float(cosine))
        assert within[-1, 1] == pytest.approx(np.mean(same[True]), abs=1e-5)
        assert between[-1, 1] == pytest.approx(np.mean(same[False]), abs=1e-5)
        accuracy = score_senses(last, "crane", found, None).layers[-1].accuracy
        assert below.lines[0].get_ydata()[-1] == accuracy
        assert below.lines[1].get_label() == "majority: 60%"

    def test_what_has_no_checkpoints(self, run: Path, cranes: Path, tmp_path: Path) -> None:
        (exported := tmp_path / "exported").mkdir()
        (exported / "config.json").touch()
        with pytest.raises(UserError, match="is not the folder of a run, all of whose checkpoints"):
            draw.learning(exported, "crane", cranes)
        with pytest.raises(UserError, match=r"--layer 3: this model has layers 0, .* to 2"):
            draw.learning(run, "crane", cranes, layer=3)
        checkpoints = sorted((run / "checkpoints").iterdir())
        for checkpoint in checkpoints[1:]:
            checkpoint.unlink()
        with pytest.raises(UserError, match=r"one step, 2, .* callbacks.save_top_k=1000"):
            draw.learning(run, "crane", cranes)
        checkpoints[0].unlink()
        with pytest.raises(UserError, match="has no checkpoint"):
            draw.learning(run, "crane", cranes)


class TestAttention:
    def test_each_head_shows_its_weights_and_both_texts(self, bert: PretrainedBert) -> None:
        found = bert.attention(*PAIR)
        picture = draw.attention(bert, *PAIR)
        panels = [axes for axes in picture.axes if axes.images]
        heads = found.weights.flatten(0, 1)
        assert len(panels) == len(heads) == 4
        for axes, weights in zip(panels, heads, strict=True):
            assert np.array_equal(axes.images[0].get_array(), weights.numpy())
            edges = [line.get_ydata()[0] for line in axes.lines[::2]]
            assert edges == [4.5]  # between [SEP] and the second text
        labels = {label.get_text(): label.get_color() for label in panels[0].get_yticklabels()}
        assert list(labels) == ["[CLS]", "the", "crane", "flies", "[SEP]", "lifts", "steel"]
        assert (labels["flies"], labels["lifts"]) == COLORS[:2]
        assert [axes.get_title() for axes in panels] == ["head 1", "head 2", "", ""]
        assert [axes.get_ylabel() for axes in panels] == ["", "layer 1", "", "layer 2"]

    def test_a_text_alone_has_no_border(self, bert: PretrainedBert) -> None:
        picture = draw.attention(bert, PAIR[0])
        assert not picture.axes[0].lines
        assert len(picture.legends[0].get_texts()) == 2

    def test_a_pair_longer_than_the_model_reads(self, bert: PretrainedBert) -> None:
        long = ("the crane " * 4, "the crane " * 4)
        with pytest.raises(UserError, match="the pair has 19 tokens"):
            draw.attention(bert, *long)
        assert draw.attention(bert, *long, truncate=True).axes[0].images


def test_results_of_one_number_of_examples_are_no_curve(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"results.json cannot be read .* learning_curve=true"):
        draw.labels(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"score": "accuracy"}))
    with pytest.raises(UserError, match="one number of labelled examples"):
        draw.labels(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"learning_curve": []}))
    with pytest.raises(UserError, match=r"cannot be read \(KeyError: 'score'\)"):
        draw.labels(tmp_path)


def test_only_the_best_of_many_lines_have_colors() -> None:
    lines = [Line(f"lr={place}", [[(1, 2.0), (2, 1.0)]] * 2) for place in range(len(COLORS) + 2)]
    (axes,) = curves_figure([Panel("set", "val/loss", lines)]).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [*(line.label for line in lines[: len(COLORS)]), "2 more"]
    assert [line.get_color() for line in axes.lines[-4:]] == ["lightgray"] * 4


class TestFiles:
    @pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
    def test_a_picture_is_written_in_the_format_of_its_name(
        self, tmp_path: Path, ending: str
    ) -> None:
        path = Picture(2, 1).save(tmp_path / f"x{ending}")
        starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
        assert path.read_bytes().startswith(starts[ending])
        assert [file.name for file in tmp_path.iterdir()] == [f"x{ending}"]

    def test_what_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"x.jpg must end in .png, .svg or .pdf"):
            Picture(2, 1).save(tmp_path / "x.jpg")
        with pytest.raises(UserError, match=r"x.png cannot be written: .* a folder that exists"):
            Picture(2, 1).save(tmp_path / "absent" / "x.png")

    @pytest.mark.slow
    def test_the_command_says_where_the_picture_is(
        self, run: Path, cranes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        word = ["crane", "--sentences", str(cranes)]
        for arguments, name in (
            (["loss", str(run)], "joint_loss.png"),
            (["word", str(run), *word], "crane_by_layer.png"),
            (["learning", str(run), *word], "crane_while_learning.png"),
            (["attention", str(run), *PAIR], "attention.png"),
        ):
            look.picture(parse("picture", arguments))
            assert capsys.readouterr().out == f"saved {run / name}\n"
            assert imread(run / name).shape[2] == 4
        out = tmp_path / "mine.png"
        look.picture(parse("picture", ["loss", str(run), "--out", str(out)]))
        assert capsys.readouterr().out == f"saved {out}\n"
        assert out.is_file()

    def test_an_unknown_picture_is_named_with_those_that_there_are(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            parse("picture", ["words"])
        assert ended.value.code == 2
        assert "choose from" in (error := capsys.readouterr().err)
        assert "attention" in error
