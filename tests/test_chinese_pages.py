"""The Chinese pages say what the English ones say: numbers, commands, links, and one word a thing.

So their commands run where those of the English ones do.
"""

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.readme_chinese import filled, translated
from bert_lightning.cli.app import compose
from bert_lightning.cli.command_line import readable_overrides

ROOT = Path(__file__).parents[1]
README, README_CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
TEXTBOOK, TEXTBOOK_CHINESE = ROOT / "docs" / "textbook.md", ROOT / "docs" / "textbook.zh-CN.md"
PAGES = [README_CHINESE, TEXTBOOK_CHINESE]

ONLY_CHINESE = (
    r"export PIP_INDEX_URL=https://\S+",
    r"export HF_ENDPOINT=https://\S+",
    r"pip install 'bert-lightning\[chinese\]'",
    r"python train\.py experiment=chinese_tiny data\.path=\S+",
)
"""Commands that the English README has no use for; tests/training/test_chinese.py runs the last."""

TERMS = {
    "预训练": (),
    "微调": ("精调", "微调节"),
    "掩码语言模型": ("遮蔽语言", "遮盖语言", "掩码语言建模"),
    "下一句预测": ("下一句子预测", "下句预测", "后句预测"),
    "联合损失": ("总损失",),
    "句子对": ("语句对", "句对"),
    "词元": ("令牌", "标记"),
    "词表": ("词汇表", "字典"),
    "批量": ("批次",),
    "基线": ("基准线",),
    "学习率": ("学习速率",),
    "检查点": ("存档点", "断点"),
    "续训": ("恢复训练", "断点续"),
    "验证集": ("校验集", "验证集合"),
    "随机权重": ("随机参数",),
    "填充": ("补齐", "填补"),
    "纳特": ("奈特",),
}
"""The one word for each thing, and others that would say the same."""


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> list[str]:
    """Returns the shell commands of a page, in order."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)
    return "".join(blocks).replace("\\\n", "").splitlines()


def rows(page: Path) -> list[list[str]]:
    """Returns the cells of the tables of a page."""
    lines = re.findall(r"^\| (.*) \|$", text(page), re.MULTILINE)
    return [line.split(" | ") for line in lines]


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_the_readme_has_the_numbers_of_the_english_one() -> None:
    page = text(README_CHINESE)
    again = "run: python -m benchmarks.readme_chinese"
    assert filled(page, text(README)) == page, again
    assert page.count(":begin -->") == text(README).count(":begin -->") > 4


def test_numbers_and_names_stay_and_words_do_not() -> None:
    kept = ("4.09", "", "--:", "`tiny_8min`", "[`docs/api.md`](docs/api.md) 12", "+0.012")
    assert [translated(cell) for cell in kept] == list(kept)
    assert translated("+0.012 (+0.002 to +0.021)") == "+0.012（+0.002至+0.021）"
    with pytest.raises(ValueError, match="'a new row' has no Chinese"):
        translated("a new row")


def test_its_commands_are_those_of_the_english_one() -> None:
    own = [one for one in commands(README_CHINESE) if one not in commands(README)]
    assert len(own) == len(ONLY_CHINESE)
    assert all(re.fullmatch(*both) for both in zip(ONLY_CHINESE, own, strict=True))
    assert [one for one in commands(README_CHINESE) if one not in own] == commands(README)
    options = readable_overrides(shlex.split(own[-1])[2:])
    config = compose(ROOT / "conf", ["run_dir=.", *options])
    assert config.data.words == "rjieba"


def test_it_has_the_parts_of_the_english_one() -> None:
    headings = [
        re.findall(r"^(#+) ", text(page), re.MULTILINE) for page in (README, README_CHINESE)
    ]
    assert headings[0] == headings[1]
    own = {"README.md", "docs/recipes.md#chinese", "docs/textbook.zh-CN.md"}
    other = {"README.zh-CN.md", "docs/textbook.md"}
    assert {*links(text(README_CHINESE))} - own == {*links(text(README))} - other


def test_the_textbook_page_has_the_rows_of_the_english_one() -> None:
    english, chinese = rows(TEXTBOOK), rows(TEXTBOOK_CHINESE)
    assert len(english) == len(chinese) > 20
    for one, other in zip(english, chinese, strict=True):
        assert links(" ".join(one[:2])) == links(" ".join(other[:2]))
        assert re.findall(r"`\w+`", one[0]) == re.findall(r"`\w+`", other[0])
        assert one[3:] == other[3:] or one[0] == "in the book"
        sections = [re.findall(r"\b(\d\d)\.(\d+)", row[0]) for row in (one, other)]
        assert sections[0] == [(f"{int(chapter) + 1}", part) for chapter, part in sections[1]]
    assert commands(TEXTBOOK) == commands(TEXTBOOK_CHINESE)


@pytest.mark.parametrize("page", [TEXTBOOK, TEXTBOOK_CHINESE], ids=lambda page: page.name)
def test_the_textbook_pages_name_cells_of_the_notebook(page: Path) -> None:
    notebook = text(ROOT / "notebooks" / "from_text_to_loss.py")
    headings = re.findall(r"^# ## (.*)$", notebook, re.MULTILINE)
    named = [cells[3].strip("*") for cells in rows(page) if len(cells) == 4 and cells[3][0] == "*"]
    assert len(named) > 10
    assert {*named} <= {*headings}


@pytest.mark.parametrize("term", TERMS)
def test_one_word_for_each_thing(term: str) -> None:
    everything = "".join(map(text, PAGES))
    assert term in everything
    assert not [other for other in TERMS[term] if other in everything]
