"""Word senses: nearest means, left out one at a time or not, and what a student sees."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

import bert_lightning
from bert_lightning.errors import UserError
from bert_lightning.evaluation.intervals import wilson_interval
from bert_lightning.evaluation.sense_files import Occurrence, read_occurrences
from bert_lightning.evaluation.senses import (
    compare,
    leave_one_out,
    nearest_centroid,
    score_senses,
    word_vectors,
)
from bert_lightning.inference.loaded import PretrainedBert
from bert_lightning.reports.sense_report import write_projector
from bert_lightning.training.fit import FitResult

CapSys = pytest.CaptureFixture[str]
Script = Callable[[str], ModuleType]
BIRDS = ["The crane sees the river.", "The crane leaves the field.", "A crane sees the garden."]
MACHINES = ["The driver opens the crane.", "The driver lifts the crane at night."]


@pytest.fixture
def bert(run: FitResult) -> PretrainedBert:
    return bert_lightning.load(run.config.run_dir)


def own(path: Path, *senses: tuple[str, list[str]]) -> Path:
    lines = [f"{sense}\t{sentence}" for sense, sentences in senses for sentence in sentences]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def cranes(tmp_path: Path) -> Path:
    return own(tmp_path / "cranes.tsv", ("bird", BIRDS), ("machine", MACHINES))


def plain_nearest(vectors: np.ndarray, labels: np.ndarray, one: np.ndarray) -> int:
    """One class at a time, with means where the module has sums."""
    means = [vectors[labels == label].mean(0) for label in range(labels.max() + 1)]
    cosines = [mean @ one / np.linalg.norm(mean) / np.linalg.norm(one) for mean in means]
    return int(np.argmax(cosines))


def test_the_nearest_mean_with_and_without_the_example_itself() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 2] * 8)
    vectors = rng.normal(size=(24, 5)) + np.eye(3, 5)[labels] + 0.5
    held_out = rng.normal(size=(9, 5)) + 0.5
    tensors = torch.from_numpy(vectors), torch.from_numpy(labels)
    expected = [plain_nearest(vectors, labels, one) for one in held_out]
    assert nearest_centroid(*tensors, torch.from_numpy(held_out)).tolist() == expected
    others = [np.arange(24) != place for place in range(24)]
    expected = [
        plain_nearest(vectors[other], labels[other], one)
        for other, one in zip(others, vectors, strict=True)
    ]
    found = leave_one_out(*tensors).tolist()
    assert found == expected
    assert found != nearest_centroid(*tensors, tensors[0]).tolist()


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
)
def test_wilsons_interval(correct: int, total: int, low: float, high: float) -> None:
    """The first three examples of Newcombe (1998), table I, method 3."""
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson_interval(total - correct, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_a_vector_is_that_of_the_word_in_its_sentence(bert: PretrainedBert) -> None:
    twice = "the crane sees the crane"
    found = [
        Occurrence(twice, None, None, "a"),
        Occurrence(twice, None, 4, "b"),
        Occurrence(f"{'the river ' * 40}the crane", None, None, "c"),
        Occurrence("the xylophone sees", None, None, "d"),
    ]
    vectors = word_vectors(bert, "Crane", found[:3])
    assert (vectors.cut, vectors.unknown) == (1, 0)
    for layer in range(3):
        encoded = bert.encode(twice, layer=layer)
        for index in (0, 1):
            expected = encoded.word("crane", occurrence=index)
            torch.testing.assert_close(vectors.vectors[layer, index], expected, atol=1e-5, rtol=0)
    assert word_vectors(bert, "xylophone", found[3:]).unknown == 1


def test_a_held_out_sentence_gets_the_sense_whose_mean_is_nearest(
    bert: PretrainedBert, cranes: Path, tmp_path: Path
) -> None:
    training = read_occurrences(cranes)
    held_out = own(tmp_path / "test.tsv", ("machine", MACHINES), ("bird", BIRDS[:1]))
    found = score_senses(bert, "crane", training, read_occurrences(held_out), "test.tsv")
    assert found.senses == {"bird": (3, 1), "machine": (2, 2)}
    assert found.majority == pytest.approx(1 / 3)  # the most frequent in training is the bird
    labels = np.array([0, 0, 0, 1, 1])
    for layer, scored in enumerate(found.layers):
        word = [bert.encode(text, layer=layer).word("crane").numpy() for text in BIRDS + MACHINES]
        guesses = [plain_nearest(np.stack(word), labels, word[place]) for place in (3, 4, 0)]
        assert scored.accuracy == pytest.approx(np.mean(np.array(guesses) == [1, 1, 0]))
        assert scored.low < scored.accuracy <= scored.high
    alone = score_senses(bert, "crane", training, None)
    assert (alone.held_out, alone.majority) == ("leave-one-out", 0.6)
    assert alone.senses == {"bird": (3, 3), "machine": (2, 2)}


def test_the_order_of_senses_and_of_sentences_changes_nothing(
    bert: PretrainedBert, cranes: Path
) -> None:
    training = read_occurrences(cranes)
    one, other = (score_senses(bert, "crane", part, None) for part in (training, training[::-1]))
    assert one.layers == other.layers
    assert one.senses == other.senses


def test_sentences_alone_are_compared(bert: PretrainedBert, tmp_path: Path) -> None:
    path = tmp_path / "plain.txt"
    path.write_text("\ufeff" + "\n".join([*BIRDS, "", MACHINES[0]]) + "\n", encoding="utf-8")
    found = compare(bert, "crane", read_occurrences(path))
    assert found.sentences == [*BIRDS, MACHINES[0]]
    assert len(found.pairs) == 6
    for pair in found.pairs:
        texts = found.sentences[pair.first], found.sentences[pair.second]
        expected = [bert.similarity("crane", *texts, layer=layer) for layer in range(3)]
        assert pair.layers == pytest.approx(expected, abs=1e-5)
    last = [pair.layers[-1] for pair in found.pairs]
    assert last == sorted(last, reverse=True)


COARSE = {
    "x.data.txt": "1\ta crane left .\n3\tthe old red crane\n",
    "x.gold.txt": "1\n0\n",
    "classes_map.txt": '{"0": "machine", "1": "bird"}',
}


def coarse(folder: Path, **changed: str | None) -> Path:
    """Writes CoarseWSD-20's files; `data="…"` is another text, None no such file."""
    names = {"data": "x.data.txt", "gold": "x.gold.txt", "names": "classes_map.txt"}
    files = {**COARSE, **{names[key]: text for key, text in changed.items()}}
    for name, text in files.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return folder / "x.data.txt"


def test_coarsewsd_is_read(tmp_path: Path) -> None:
    path = coarse(tmp_path)
    assert read_occurrences(path) == [
        Occurrence("a crane left .", "bird", 1, f"{path}, line 1"),
        Occurrence("the old red crane", "machine", 3, f"{path}, line 2"),
    ]
    (tmp_path / "classes_map.txt").unlink()
    assert [one.sense for one in read_occurrences(path)] == ["1", "0"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": "1\ta crane\n2\ta crane\n"}, r"line 2: position 2 is out of range; .* 2 tokens"),
        ({"data": "1\ta crane\n-1\ta crane\n"}, "line 2 does not start with a position and a tab"),
        ({"data": "1\ta crane\nbird a crane\n"}, "line 2 does not start with a position"),
        ({"gold": "1\n"}, r"x.gold.txt has 1 senses, but .*x.data.txt has 2 sentences"),
        ({"gold": "1\n2\n"}, r"x.gold.txt, line 2: '2' is not in classes_map.txt, which has 0, 1"),
        ({"gold": None}, r"x.gold.txt cannot be read: No such file"),
        ({"names": "{"}, "classes_map.txt is not JSON"),
        ({"names": "[]"}, "classes_map.txt must be an object of names"),
        ({"data": "\n"}, "x.data.txt is empty"),
    ],
)
def test_malformed_coarsewsd_is_refused(
    tmp_path: Path, changed: dict[str, str | None], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_occurrences(coarse(tmp_path, **changed))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "bird\ta crane\na crane\n",
            "line 2 has no sense before a tab, and the first line has one",
        ),
        (
            "a crane\nbird\ta crane\n",
            "line 2 has a sense before a tab, and the first line has none",
        ),
        ("bird\ta crane\n \ta crane\n", "line 2 has no sense before its tab"),
        ("bird\ta crane\nbird\t\n", "line 2 has no sentence after its tab"),
        (" \n", "is empty: it needs sense<TAB>sentence, or a sentence, in each line"),
    ],
)
def test_malformed_lines_of_your_own_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_occurrences(path)


def occurrence(sentence: str, sense: str | None = None, position: int | None = None) -> Occurrence:
    return Occurrence(sentence, sense, position, f"here, {sentence}")


BIRD, OTHER_BIRD = occurrence(BIRDS[0], "bird"), occurrence(BIRDS[1], "bird")
MACHINE = occurrence(MACHINES[0], "machine")


@pytest.mark.parametrize(
    ("training", "held_out", "message"),
    [
        ([BIRD, OTHER_BIRD], None, "every sentence has the sense 'bird': at least two senses"),
        ([BIRD, OTHER_BIRD, MACHINE], None, r"here, The driver .* only sentence .* or --test FILE"),
        ([BIRD, MACHINE], [occurrence("a crane")], "here, a crane has no sense"),
        ([occurrence("a crane")], [BIRD], "here, a crane has no sense"),
        (
            [BIRD, MACHINE],
            [occurrence("a crane", "shop")],
            "no training sentence has the sense 'shop'; their senses are bird, machine",
        ),
        (
            [BIRD, MACHINE, occurrence("The river", "bird")],
            [BIRD],
            r"here, The river: 'crane' is not in the text, whose tokens are the river",
        ),
        (
            [BIRD, MACHINE._replace(position=1)],
            [BIRD],
            r"here, The driver .*: position 1 holds 'driver', not 'crane'",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(
    bert: PretrainedBert,
    training: list[Occurrence],
    held_out: list[Occurrence] | None,
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        score_senses(bert, "crane", training, held_out)


def test_one_sentence_cannot_be_compared(bert: PretrainedBert) -> None:
    with pytest.raises(UserError, match="here, a crane is the only sentence"):
        compare(bert, "crane", [occurrence("a crane")])


def test_the_script_prints_a_table_of_layers(
    script: Script, run: FitResult, cranes: Path, tmp_path: Path, capsys: CapSys
) -> None:
    main = script("senses").main
    main([run.config.run_dir, "crane", "--sentences", str(cranes)])
    shown = capsys.readouterr().out
    assert "held out    leave-one-out" in shown
    assert re.search(r"bird +3 +3\nmachine +2 +2\nall +5 +5\n", shown)
    assert re.search(r"0 \(embeddings\) +\d+\.\d% +\d+\.\d% to \d+\.\d% +60\.0%\n1 ", shown)
    main([run.config.run_dir, "crane", "--sentences", str(cranes), "--test", str(cranes), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["word"], found["held_out"]) == ("crane", str(cranes))
    assert [set(layer) for layer in found["layers"]] == [{"accuracy", "low", "high"}] * 3
    with pytest.raises(SystemExit) as caught:
        main([run.config.run_dir, "crane", "--sentences", str(tmp_path / "absent.tsv")])
    assert caught.value.code == 2
    assert "absent.tsv cannot be read" in capsys.readouterr().err


def test_the_script_shows_similarities_and_what_was_cut(
    script: Script, run: FitResult, tmp_path: Path, capsys: CapSys
) -> None:
    path = tmp_path / "plain.txt"
    sentences = [f"{'the river ' * place}sees the crane" for place in range(8)]
    path.write_text("\n".join([*sentences, "the crane " * 40]), encoding="utf-8")
    script("senses").main([run.config.run_dir, "crane", "--sentences", str(path)])
    shown = capsys.readouterr().out
    assert "  1  sees the crane\n  2  the river sees the crane\n" in shown
    assert re.search(r"cosine of crane in layer +0 +1 +2\n", shown)
    assert "… 16 pairs between" in shown
    assert "cut around the word: 1." in shown
    path.write_text("a xylophone\nthe xylophone\n", encoding="utf-8")
    script("senses").main([run.config.run_dir, "xylophone", "--sentences", str(path)])
    assert re.search(r"1 and 2 +\d\.\d\d", shown := capsys.readouterr().out)
    assert re.search(r"\[UNK\] to the tokenizer[^.]*: 2\.", shown)


@pytest.mark.slow
def test_minilm_knows_which_crane_is_meant(minilm: Path, labelled_data: Path) -> None:
    """The embeddings know nothing but positions; the last layer knows nearly every sentence."""
    train, test = (
        read_occurrences(labelled_data / "coarsewsd20" / "crane" / f"{split}.data.txt")
        for split in ("train", "test")
    )
    found = score_senses(bert_lightning.load(minilm), "crane", train, test)
    assert found.majority == pytest.approx(0.516, abs=5e-4)
    accuracies = [round(layer.accuracy, 3) for layer in found.layers]
    assert accuracies == [0.478, 0.873, 0.930, 0.911, 0.904, 0.885, 0.949]
    assert found.layers[0].low < found.majority < found.layers[0].high
    assert found.layers[1].low > found.majority


@pytest.mark.parametrize("word", ["bank", "crane", "mole", "seal", "spring"])
def test_the_real_coarsewsd_is_read(labelled_data: Path, word: str) -> None:
    for split in ("train", "test"):
        found = read_occurrences(labelled_data / "coarsewsd20" / word / f"{split}.data.txt")
        assert {one.sentence.split()[one.position or 0] for one in found} == {word}
        assert len({one.sense for one in found}) > 1


@pytest.mark.parametrize("labelled", [True, False])
def test_tensorboards_projector_reads_each_layer_with_its_labels(
    bert: PretrainedBert, tmp_path: Path, labelled: bool
) -> None:
    texts = ["The crane sees the café.", "A crane leaves."]
    found = [Occurrence(text, "big bird" if labelled else None, None, text) for text in texts]
    vectors, folder = word_vectors(bert, "crane", found), tmp_path / "projector"
    write_projector(folder, found, vectors)
    runs = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    provider = MultiplexerDataProvider(runs, str(folder))
    plugin = ProjectorPlugin(TBContext(logdir=str(folder), data_provider=provider))

    def read(what: str, **asked: str) -> bytes:
        return Client(plugin.get_plugin_apps()[what]).get("/", query_string=asked).get_data()

    assert read("/runs") == b'["."]'
    wanted = ["sense\tsentence", *(f"big bird\t{text}" for text in texts)]
    for layer, expected in enumerate(vectors.vectors):
        asked = {"run": ".", "name": f"layer {layer}:00000"}
        shown = np.frombuffer(read("/tensor", **asked), np.float32).reshape(expected.shape)
        np.testing.assert_allclose(shown, expected.numpy(), rtol=1e-5)
        lines = read("/metadata", **asked).decode().splitlines()
        assert lines == (wanted if labelled else texts)
    with pytest.raises(UserError, match="--projector FOLDER with a new one"):
        write_projector(folder, found, vectors)
