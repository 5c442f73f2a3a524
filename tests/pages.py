"""README and docs as their readers see them: pages, commands, and a checkout to run them in."""

import json
import re
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Returns the code blocks of a page in a language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Returns a page without its code blocks, whose words are those of programs."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def commands(page: Path) -> list[str]:
    """Returns the shell commands of a page, each in one line, without comments."""
    lines = "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    found = (re.sub(r"\s+#\s.*", "", line) for line in lines if not line.startswith("#"))
    return [" ".join(line.split()) for line in found if line.strip()]


def make_checkout(folder: Path) -> Path:
    """Makes a folder that looks like a checkout, with small data under the names of the pages."""
    for name in ("train.py", "finetune.py", "conf", "scripts", "benchmarks", "bert_lightning"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "docs" / "pictures").mkdir(parents=True)
    (folder / "docs" / "launch").symlink_to(ROOT / "docs" / "launch")
    _write_text(folder)
    _write_labelled(folder)
    return folder


def _write_text(folder: Path) -> None:
    topics = ["crane", "river", "bridge", "lamp", "garden", "letter"]
    for name in ("notes", "books"):
        (folder / name).mkdir()
        for topic in topics:
            paragraph = f"The {topic} is here. It was there. Nobody saw the {topic} move."
            blocks = "\n\n".join([paragraph] * 4)
            (folder / name / f"{topic}.txt").write_text(blocks + "\n", encoding="utf-8")
    chinese = "\n\n".join(["司机看见了起重机。起重机在河边。他走了。"] * 30)
    (folder / "小说.txt").write_text(chinese, encoding="utf-8")
    (folder / "blimp").mkdir()
    pair = '{"sentence_good": "The lamp is here.", "sentence_bad": "The lamp here is."}\n'
    (folder / "blimp" / "pairs.jsonl").write_text(pair, encoding="utf-8")
    with ZipFile(folder / "BLiMP.zip", "w") as archive:
        archive.writestr("blimp/data/pairs.jsonl", pair)
    senses = "bird\tthe crane moves\nbird\ta crane is here\nmachine\tno crane\nmachine\tcrane\n"
    (folder / "cranes.tsv").write_text(senses, encoding="utf-8")
    for split in ("train", "test"):
        lines = [f"1\t{article} crane is here\n" for article in ("a", "the", "no", "it")]
        (folder / f"{split}.data.txt").write_text("".join(lines), encoding="utf-8")
        (folder / f"{split}.gold.txt").write_text("0\n0\n1\n1\n", encoding="utf-8")
    (folder / "wikitext-2").mkdir()
    for split in ("train", "valid", "test"):
        articles = [
            f" = {topic.title()} = \n \n The {topic} is here . It was there . Nobody <unk> it . \n"
            for topic in topics * 3
        ]
        text = "".join(articles)
        (folder / "wikitext-2" / f"wiki.{split}.tokens").write_text(text, encoding="utf-8")


def _write_labelled(folder: Path) -> None:
    rated = "a lamp is here,5\nno lamp is here,1\n" * 20
    (folder / "reviews.csv").write_text(f"text,label\n{rated}", encoding="utf-8")
    words = "A\tDET\nlamp\tNOUN\nis\tVERB\nhere\tADV\n\n" * 600
    paired = "text,text_pair,label\n" + "a lamp is here,the lamp,5\na lamp,no river,1\n" * 10
    context = {
        "context": "On Monday a crane flew over the river.",
        "qas": [
            {
                "id": f"{number}",
                "question": "What flew?",
                "answers": [{"text": "a crane", "answer_start": 10}],
            }
            for number in range(10)
        ],
    }
    squad = json.dumps({"data": [{"paragraphs": [context] * 4}]})
    for name, ending, text in (
        *((name, "conll", words) for name in ("ud-ewt", "wnut17")),
        ("banking77", "csv", f"text,label\n{rated}"),
        *((name, "csv", paired) for name in ("sts", "nli")),
        ("squad", "json", squad),
    ):
        (folder / name).mkdir()
        for split in ("train", "dev", "test"):
            (folder / name / f"{split}.{ending}").write_text(text, encoding="utf-8")
    (folder / "nli" / "train.csv").write_text(
        "text,text_pair\n" + "a lamp is here,the lamp\nno river,a river\n" * 10, encoding="utf-8"
    )
    (folder / "stsb").mkdir()
    rows = paired.partition("\n")[2]
    for split in ("train", "dev", "test"):
        (folder / "stsb" / f"stsb-en-{split}.csv").write_text(rows, encoding="utf-8")
    pair = '{"sentence_good": "The lamps are here.", "sentence_bad": "The lamps is here."}\n'
    choices = folder / "regular_plural_subject_verb_agreement_1.jsonl"
    choices.write_text(pair * 40, encoding="utf-8")
