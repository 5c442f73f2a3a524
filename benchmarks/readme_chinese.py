"""Fills what lies between the markers of README.zh-CN.md with the README's blocks, in Chinese.

python -m benchmarks.readme_chinese

So every number of the Chinese page is one of the README, which has it from the committed results.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
BLOCK = re.compile(r"<!-- (\S+):begin -->\n(.*?)<!-- \1:end -->", re.DOTALL)

WORDS = {
    r"baseline": "基线",
    r"\*baseline\*": "*基线*",
    r"validation loss on WikiText-2 after (\S+) minutes on two CPU cores, nats per masked token": (
        r"在两个CPU核上训练\1分钟后WikiText-2的验证损失，每个被遮住词元的纳特数"
    ),
    r"similarity of sentences \(STS benchmark\), Spearman's correlation": (
        "句子相似度（STS基准），斯皮尔曼相关系数"
    ),
    r"training of the tiny model on two CPU cores, sentence pairs per second": (
        "在两个CPU核上训练tiny模型，每秒的句子对数"
    ),
    r"([\d.]+) \(unigram\)": r"\1（词频）",
    r"([\d.]+) \(from random weights\)": r"\1（从随机权重开始）",
    r"(\d+) \(Hugging Face's model\)": r"\1（Hugging Face的模型）",
    r"recipe": "训练方案",
    r"seeds": "种子数",
    r"training, minutes": "训练时间，分钟",
    r"MLM loss, nats": "MLM损失，纳特",
    r"MLM accuracy": "MLM准确率",
    r"NSP accuracy": "NSP准确率",
    r"task": "任务",
    r"score": "指标",
    r"accuracy": "准确率",
    r"spearman": "斯皮尔曼相关系数",
    r"entity f1": "实体F1",
    r"pretrained": "预训练权重",
    r"random weights": "随机权重",
    r"gain, 95 % interval": "增益，95%区间",
    r"(\S+) \((\S+) to (\S+)\)": r"\1（\2至\3）",
    r"tiny model, two CPU cores": "tiny模型，两个CPU核",
    r"BERT-Base, (NVIDIA .+)": r"BERT-Base，\1",
    r"Hugging Face, helped": "Hugging Face，加以优化",
    r"Hugging Face, as shipped": "Hugging Face，原样",
    r"textbook": "教材代码",
    r"text → a prepared corpus": "文本 → 预处理后的语料",
    r"a prepared corpus → batches": "语料 → 批量",
    r"a batch → loss": "批量 → 损失",
    r"files below `bert_lightning/`": "`bert_lightning/`下的文件",
    r"\((`.+`): (\d+) s of training on (\d+) cores of an? (.+?), torch (\S+); (.+)\)": (
        r"（\1：在\3个\4核上训练\2秒，torch \5；\6）"
    ),
    r"From text to loss in (\d+) files and (\S+) lines, in this order \(behind each file its "
    r"number of lines\); (.+) has the reasons\.": (
        r"从文本到损失共\1个文件、\2行，按下面的顺序阅读（文件名后面是行数）；设计的理由见\3。"
    ),
}
"""What the blocks say, as patterns of whole cells and lines, and how it is said in Chinese."""
NAMES = {"banking77", "vader", "stsb", "wnut17", "ud-ewt", "TF-IDF", "bert-lightning"}
NAMES |= {"bert-lightning, bf16"}


def main() -> None:
    page = CHINESE.read_text(encoding="utf-8")
    CHINESE.write_text(filled(page, README.read_text(encoding="utf-8")), encoding="utf-8")


def filled(page: str, readme: str) -> str:
    """Returns the Chinese page with the README's blocks."""
    blocks = dict(BLOCK.findall(readme))
    return BLOCK.sub(
        lambda found: (
            f"<!-- {found[1]}:begin -->\n{in_chinese(blocks[found[1]])}<!-- {found[1]}:end -->"
        ),
        page,
    )


def in_chinese(block: str) -> str:
    """Returns a block with its tables and sentences in Chinese; what programs print stays."""
    code, lines = False, []
    for line in block.splitlines():
        code ^= line.startswith("```")
        if code or line.startswith("```"):
            lines.append(line)
        elif line.startswith("|"):
            cells = [translated(cell.strip()) for cell in line.strip("|").split("|")]
            lines.append(f"| {' | '.join(cells)} |")
        else:
            lines.append(translated(line))
    return "\n".join(lines) + "\n"


def translated(text: str) -> str:
    """Returns a cell or a line in Chinese; one without words stays as it is.

    Raises:
        ValueError: there is no Chinese for it.
    """
    for pattern, chinese in WORDS.items():
        if found := re.fullmatch(pattern, text):
            return found.expand(chinese)
    words = re.sub(r"\[?`[^`]*`(?:\]\([^)]*\))?", "", text)  # without code and links
    if text in NAMES or not re.search("[A-Za-z]", words):
        return text
    raise ValueError(f"{text!r} has no Chinese in {Path(__file__).name}")


if __name__ == "__main__":
    main()
