"""The race: its rules, its records, and what its tables say of variants."""

import json
from collections.abc import Callable, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from benchmarks import referee
from benchmarks.downstream_table import downstream_table, models
from benchmarks.race_tables import all_variants_table, records, records_table, variants_table
from benchmarks.recipe_results import RECIPES, ROOT, Entry, differences, entries
from benchmarks.referee import PARAMETERS, SECONDS, judged, place_of
from bert_lightning.errors import UserError

KEPT = RECIPES / "tiny_8min" / "seed=0"
Keep = Callable[..., None]


def read(name: str) -> Any:
    return json.loads((KEPT / name).read_text(encoding="utf-8"))


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Writes a result like that of `tiny_8min`, with another loss and other options."""

    def write(
        place: str, loss: float, date: str = "2026-12-01", seconds: float = 450, **options: Any
    ) -> None:
        result, config = read("result.json"), read("config.json")
        result["validation"]["mlm"]["all"]["loss"] = loss
        result |= {"date": date, "training_seconds": seconds}
        for name, value in options.items():
            room, _, option = name.partition("__")
            config[room][option] = value
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("rule", "option", "value"),
    [
        ("time", "result.training_seconds", SECONDS + 1),
        ("cores", "result.machine.cores", 4),
        ("cores", "result.machine.gpu", "NVIDIA H100"),
        ("size", "result.parameters", PARAMETERS + 1),
        ("text", "result.validation.corpus", "text"),
        ("text", "config.init_from", "a model"),
        ("time", "result.teachers", [{"training_seconds": 60, "corpus": "wikitext-2-v1"}]),
        ("text", "result.teachers", [{"training_seconds": 0, "corpus": "text"}]),
        ("evaluation", "result.test.evaluation_set_sha256", "0"),
    ],
)
def test_each_rule_is_judged(rule: str, option: str, value: Any) -> None:
    files = {"result": read("result.json"), "config": read("config.json")}
    files["result"]["validation"]["corpus"] = "wikitext-2-v1"
    assert all(one.kept for one in judged(**files))
    *rooms, name = option.split(".")
    reduce(getitem, rooms, files)[name] = value
    assert [one.name for one in judged(**files) if not one.kept] == [rule]


def test_teachers_are_named_where_their_time_counts(tmp_path: Path, capsys: Any) -> None:
    for arguments, said in (
        (["objective.teachers=[a]"], "name each with --teacher RUN"),
        (["--teacher", str(tmp_path)], "with a summary.json"),
    ):
        with pytest.raises(SystemExit) as ended:
            referee.main(["tiny_8min", "data.path=.", "--variant", "never_kept", *arguments])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
    assert not (RECIPES / "tiny_8min" / "never_kept").exists()


def test_a_variant_keeps_its_options_for_all_its_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(referee, "RECIPES", tmp_path)
    options = ["optim.lr=1e-2", "data.path=text", "optim.beta2=0.9"]
    place = place_of("tiny_8min", "faster", options, 0)
    assert place == tmp_path / "tiny_8min" / "faster" / "seed=0"
    assert place_of("tiny_8min", None, options[1:2], 3) == tmp_path / "tiny_8min" / "seed=3"
    place.mkdir(parents=True)
    kept = json.dumps({"options": ["optim.lr=1e-2", "optim.beta2=0.9"]})
    (place / "result.json").write_text(kept, encoding="utf-8")
    assert place_of("tiny_8min", "faster", options[::-1], 1).name == "seed=1"
    with pytest.raises(UserError, match=r"seed=0 is of optim.lr=1e-2 optim.beta2=0.9, not of "):
        place_of("tiny_8min", "faster", options[:2], 1)


def test_a_record_keeps_the_rules_and_a_small_gain_needs_a_second_seed(
    keep: Keep, tmp_path: Path
) -> None:
    keep("tiny_8min/seed=0", 4.1)
    keep("tiny_8min/later/seed=0", 3.9, date="2026-12-03", optim__lr=0.01)
    keep("tiny_8min/worse/seed=0", 4.2, date="2026-12-02")
    keep("tiny_8min/too_long/seed=0", 3.0, date="2026-12-02", seconds=SECONDS + 1)
    keep("tiny_8min/one_seed/seed=0", 3.88, date="2026-12-04")
    for seed in (0, 1):
        keep(f"tiny_8min/two_seeds/seed={seed}", 3.88, date="2026-12-05", optim__beta2=0.9)
    found = records(entries(tmp_path))
    assert [one.variant for one in found] == [None, "later", "two_seeds"]
    table = records_table(entries(tmp_path)).splitlines()
    assert table[2].endswith("| the first |")
    assert table[3].endswith("| `optim.lr=0.01` |")
    assert table[4].endswith("| `optim.lr=0.008 optim.beta2=0.9` |")


def test_variants_are_compared_with_runs_of_the_same_length(keep: Keep, tmp_path: Path) -> None:
    fixed = {"optim__time_budget": None, "trainer__max_steps": 1822}
    keep("tiny_8min/seed=0", 4.1)
    keep("tiny_8min/lr/seed=0", 4.0, optim__lr=0.01)
    keep("tiny_8min/fixed/seed=0", 4.3, **fixed)
    keep("tiny_8min/fixed_lr/seed=0", 4.4, optim__lr=0.01, **fixed)
    keep("tiny_8min/fixed_lr/seed=1", 4.5, optim__lr=0.01, **fixed)
    table = variants_table(entries(tmp_path), "tiny_8min")
    assert table == all_variants_table(entries(tmp_path))
    of_time, of_steps = table.split("`tiny_8min`, 1,822 steps:")
    assert of_time.startswith("`tiny_8min`, 450s:")
    assert (
        "`optim.lr=0.01` | [lr](benchmarks/recipes/tiny_8min/lr) | -0.100 | 1 | 4.000 |" in of_time
    )
    assert "as it is | [tiny_8min](benchmarks/recipes/tiny_8min) |  | 1 | 4.100 |" in of_time
    assert "as it is | [fixed](benchmarks/recipes/tiny_8min/fixed) |  | 1 | 4.300 |" in of_steps
    assert "| +0.150 | 2 | 4.450 (4.400 to 4.500) |" in of_steps


def test_other_recipes_differ_by_their_options() -> None:
    found = {one.recipe: one for one in entries() if one.variant is None}
    changed = differences(found["tiny_bert_8min"], found["tiny_8min"])
    assert changed[0] == "arch=modern"
    assert differences(found["tiny_8min"], found["tiny_bert_8min"])[0] == "arch=bert"
    assert differences(found["tiny_8min"], found["tiny_8min"]) == []


def test_the_page_states_the_rules() -> None:
    page = " ".join((ROOT / "docs" / "race.md").read_text(encoding="utf-8").split())
    for fact in (f"{SECONDS} s", f"{PARAMETERS:,}", *referee.EVALUATION_SETS.values()):
        assert fact in page


@pytest.mark.parametrize(
    ("page", "marker", "table"),
    [
        ("race", "records", records_table),
        ("recipes", "variants", all_variants_table),
        ("recipes", "downstream", lambda _: downstream_table(models())),
    ],
)
def test_the_tables_are_of_the_kept_results(
    page: str, marker: str, table: Callable[[Sequence[Entry]], str]
) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    _, begin, rest = text.partition(f"<!-- {marker}:begin -->\n")
    assert begin
    shown = rest.partition(f"\n<!-- {marker}:end -->")[0]
    assert shown == table(entries()).replace("](benchmarks/", "](../benchmarks/")
