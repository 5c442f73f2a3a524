"""Vocabularies made of a corpus: how many entries, of what, and what text becomes with them."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from plain import encode_plain
from tokenizers import Tokenizer

from bert_lightning.batch import SPECIAL_TOKENS
from bert_lightning.cli import app as cli
from bert_lightning.config import CorpusConfig, Format, PairsConfig, TokenizerConfig, TokenizerKind
from bert_lightning.corpus.prepare import prepare
from bert_lightning.corpus.readers import tables
from bert_lightning.corpus.tokenizer import (
    load_tokenizer,
    load_tokenizer_text,
)
from bert_lightning.corpus.vocabulary import build as vocab
from bert_lightning.corpus.vocabulary.build import build_tokenizer
from bert_lightning.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
SENTENCES = ["The crane lifts the steel , and the driver looks up", "Cranes lifted and lifting"] * 9
SIZE = 70


def build(
    sentences: list[str] = SENTENCES,
    text_format: Format = Format.prose,
    vocab_size: int | None = SIZE,
    lowercase: bool = True,
    strip_accents: bool = True,
) -> Tokenizer:
    config = TokenizerConfig(
        kind=TokenizerKind.wordpiece,
        vocab_size=vocab_size,
        min_frequency=2,
        lowercase=lowercase,
        strip_accents=strip_accents,
    )
    return build_tokenizer(sentences, config, text_format)


@pytest.mark.parametrize("text_format", list(Format))
@pytest.mark.parametrize("lowercase", [True, False])
def test_pieces_have_the_wanted_number_and_the_special_tokens_the_ids_0_to_4(
    text_format: Format, lowercase: bool
) -> None:
    text = [f"{sentence} [SEP] [MASK] [PAD] [UNK] [CLS]" for sentence in SENTENCES]
    tokenizer = build(text, text_format, 80, lowercase)
    assert tokenizer.get_vocab_size() == 80
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert sorted(tokenizer.get_vocab().values()) == list(range(80))


@pytest.mark.parametrize("text_format", list(Format))
@pytest.mark.parametrize("lowercase", [True, False])
def test_special_tokens_in_the_text_stay_mere_text_and_in_a_query_they_are_special(
    text_format: Format, lowercase: bool
) -> None:
    text = "the [SEP] crane [MASK] lifts [CLS] [PAD]"
    for corpus in (SENTENCES, [f"{sentence} [SEP] [MASK]" for sentence in SENTENCES]):
        tokenizer = build(corpus, text_format, lowercase=lowercase)
        (ids,) = encode_plain(tokenizer, [text])
        assert not {0, 2, 3, 4} & set(ids)
        the = tokenizer.token_to_id("the")
        assert ids[0] == the
        query = tokenizer.encode("the [MASK]").ids
        assert query == [2, the, 4, 3]


def test_a_word_that_is_not_known_whole_is_pieces_and_comes_back_whole() -> None:
    tokenizer = build()
    for text in ("the crane lifts and the driver", "the steel driver lifted, looks", "tend , lard"):
        (ids,) = encode_plain(tokenizer, [text])
        assert 1 not in ids
        assert tokenizer.decode(ids) == text.replace(" ,", ",")
    encoding = tokenizer.encode("tend lard", add_special_tokens=False)
    assert len(encoding.tokens) > 2
    assert any(token.startswith("##") for token in encoding.tokens)


def test_unk_in_wikitext_is_the_unknown_word() -> None:
    text = [f"{sentence} <unk> <unk>" for sentence in SENTENCES]
    tokenizer = build(text, Format.wikitext)
    the, crane = (tokenizer.token_to_id(word) for word in ("the", "crane"))
    assert encode_plain(tokenizer, ["the <unk> crane", "<unk>"]) == [[the, 1, crane], [1]]
    assert tokenizer.encode("the <unk>").ids == [2, the, 1, 3]
    assert not {token for token in tokenizer.get_vocab() if "unk" in token} - {"[UNK]"}
    prose = build()
    for sentence in (*SENTENCES[:2], "steel(lifts) @-@ “crane”, the 。driver!"):
        pieces = [
            t.pre_tokenizer.pre_tokenize_str(t.normalizer.normalize_str(sentence))
            for t in (tokenizer, prose)
        ]
        assert pieces[0] == pieces[1], "words end where BERT's own do"


def test_lower_case_and_accents_are_options() -> None:
    text = ["café Café cafe"] * 9
    assert len({tuple(i) for i in encode_plain(build(text, vocab_size=14), text[0].split())}) == 1
    cased = build(text, vocab_size=16, lowercase=False, strip_accents=False)
    assert len({tuple(ids) for ids in encode_plain(cased, text[0].split())}) == 3
    config = TokenizerConfig(min_frequency=1, strip_accents=True)
    words = build_tokenizer(text, config, Format.prose)
    assert set(words.get_vocab()) == {*SPECIAL_TOKENS, "cafe"}


def test_a_pair_is_laid_out_as_bert_does() -> None:
    encoding = build().encode("the crane", "driver")
    assert [encoding.tokens[0], encoding.tokens[-1]] == ["[CLS]", "[SEP]"]
    assert encoding.type_ids == sorted(encoding.type_ids)
    assert sum(encoding.type_ids) == len(encoding.tokens) - 1 - encoding.tokens.index("[SEP]")


def test_saved_and_loaded_it_encodes_alike(tmp_path: Path) -> None:
    for text_format in Format:
        tokenizer = build(text_format=text_format)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        queries = [*SENTENCES[:2], "tend [SEP] <unk> lard"]
        for loaded in (
            load_tokenizer(tmp_path / "tokenizer.json"),
            load_tokenizer_text(tokenizer.to_str()),
        ):
            assert encode_plain(loaded, queries) == encode_plain(tokenizer, queries)
            assert loaded.encode(*queries[:2]).ids == tokenizer.encode(*queries[:2]).ids


@pytest.mark.parametrize("kind", list(TokenizerKind))
def test_row_37_a_vocabulary_larger_than_the_corpus_has(kind: TokenizerKind) -> None:
    config = TokenizerConfig(kind=kind, vocab_size=4000, min_frequency=1)
    with pytest.raises(UserError) as raised:
        build_tokenizer(SENTENCES, config, Format.prose)
    message = str(raised.value)
    assert "tokenizer.vocab_size=4000 is more than the corpus has" in message
    found = int(message.split("use tokenizer.vocab_size=")[1].split()[0])
    assert f"the corpus has: {found - 5} words" in message
    if kind is TokenizerKind.word:
        assert found - 5 == len(set(" ".join(SENTENCES).lower().split()))
    config.vocab_size = found
    assert build_tokenizer(SENTENCES, config, Format.prose).get_vocab_size() == found


def test_a_number_of_words_keeps_the_most_frequent() -> None:
    config = TokenizerConfig(vocab_size=7, min_frequency=1)
    vocabulary = build_tokenizer(SENTENCES, config, Format.prose).get_vocab()
    assert set(vocabulary) == {*SPECIAL_TOKENS, "the", "and"}


def test_a_script_of_many_characters_fills_the_vocabulary() -> None:
    """A quarter of the vocabulary is too little for a text of single characters."""
    characters = [chr(0x4E00 + number) for number in range(600)]
    text = ["".join(characters[number::7]) for number in range(7)] * 3
    tokenizer = build(text, vocab_size=None)
    assert tokenizer.get_vocab_size() == 5 + 600
    for size in (605, 500, 300):
        found = build(text, vocab_size=size)
        assert found.get_vocab_size() == size
    with pytest.raises(UserError, match=r"use tokenizer\.vocab_size=605 or less"):
        build(text, vocab_size=700)
    with pytest.raises(UserError, match=r"use tokenizer\.vocab_size=605 or less"):
        build(text, Format.wikitext, vocab_size=700)


def test_fewer_pieces_than_characters_are_refused() -> None:
    with pytest.raises(UserError, match=r"vocab_size=10 is too small .*vocab_size=\d+ or more"):
        build(vocab_size=10)
    with pytest.raises(UserError, match=r"vocab_size=5 must be at least 6"):
        TokenizerConfig(vocab_size=5)


def test_no_number_asked_for_is_as_many_pieces_as_the_corpus_gives_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = build(vocab_size=None).get_vocab_size()
    assert few < vocab.MOST_PIECES
    with pytest.raises(UserError, match=rf"use tokenizer\.vocab_size={few} or less"):
        build(vocab_size=vocab.MOST_PIECES)
    monkeypatch.setattr(vocab, "MOST_PIECES", few - 5)
    assert build(vocab_size=None).get_vocab_size() == few - 5


@pytest.mark.parametrize("fallback", [False, True])
def test_the_shipped_word_pieces_fit_any_corpus(
    small_data: CorpusConfig, fallback: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = cli.compose(CONF, ["tokenizer=wordpiece", "run_dir=."])
    data = small_data
    if fallback:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(tables, "dataset_out_of_reach", lambda *_: "no network")
        data = replace(shipped.data, cache_dir=small_data.cache_dir, name="not-cached")
        data = replace(data, hub_repository="nobody/has-this")
    corpus = prepare(data, shipped.tokenizer, shipped.batch.pairs)
    assert (corpus.name == "builtin") is fallback
    assert 100 < corpus.tokenizer.get_vocab_size() <= vocab.MOST_PIECES
    assert (corpus.splits["train"].token_ids != 1).mean() > 0.99


def test_prepared_once_the_pieces_stay(small_data: CorpusConfig) -> None:
    config = TokenizerConfig(kind=TokenizerKind.wordpiece, vocab_size=150, min_frequency=2)
    one, other = (prepare(small_data, config, PairsConfig()) for _ in range(2))
    assert one.tokenizer.to_str() == other.tokenizer.to_str()
    assert one.tokenizer.get_vocab_size() == 150
    split = one.splits["train"]
    assert not split.word_starts.all()
    assert (split.token_ids != 1).all()


@pytest.mark.slow
def test_wikitext2_gives_8000_pieces_and_almost_nothing_unknown(wikitext2: Path) -> None:
    with (wikitext2 / "wiki.valid.tokens").open(encoding="utf-8") as lines:
        sentences = [line.strip() for line in lines if line.strip()]
    config = TokenizerConfig(
        kind=TokenizerKind.wordpiece, vocab_size=8000, min_frequency=2, strip_accents=True
    )
    tokenizer = build_tokenizer(sentences, config, Format.wikitext)
    assert tokenizer.get_vocab_size() == 8000
    ids = [i for sentence in encode_plain(tokenizer, sentences) for i in sentence]
    in_text = sum(sentence.count("<unk>") for sentence in sentences)
    assert in_text <= ids.count(1) < in_text + 20


def from_hub(monkeypatch: pytest.MonkeyPatch, reached: bool) -> list[str]:
    """Has the hub answer, or not; the list fills with the names that are asked for."""
    import huggingface_hub

    asked = []

    def model_info(*_: object, **__: object) -> None:
        if not reached:
            raise ConnectionError("no route to the hub")

    class Hub:
        from_str = Tokenizer.from_str

        @staticmethod
        def from_pretrained(name: str) -> Tokenizer:
            asked.append(name)
            return build()

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("bert_lightning.corpus.tokenizer.Tokenizer", Hub)
    return asked


@pytest.mark.parametrize("name", ["bert-base-uncased", "google-bert/bert-base-uncased"])
def test_a_name_on_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = from_hub(monkeypatch, reached=True)
    assert load_tokenizer(name).get_vocab_size() == SIZE
    assert asked == [name]


def test_a_name_on_the_hub_that_is_in_the_cache_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = from_hub(monkeypatch, reached=False)
    file = tmp_path / "kept.json"
    build().save(str(file))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(file))
    assert load_tokenizer("bert-base-uncased").get_vocab_size() == SIZE
    assert asked == []
    file.write_text("{}")
    with pytest.raises(UserError, match="bert-base-uncased is not a tokenizer"):
        load_tokenizer("bert-base-uncased")


def test_a_hub_out_of_reach_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = from_hub(monkeypatch, reached=False)
    with pytest.raises(UserError) as raised:
        load_tokenizer("bert-base-uncased")
    for part in (
        "tokenizer.path=bert-base-uncased: there is no file",
        "no route to the hub",
        "tokenizer.path=FILE reads a local tokenizer.json",
    ):
        assert part in str(raised.value)
    assert asked == []


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    from_hub(monkeypatch, reached=True)
    waiting = threading.Event()
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: waiting.wait(30))
    monkeypatch.setattr("bert_lightning.hub.HUB_SECONDS", 0.05)
    with pytest.raises(UserError, match=r"no answer within 0\.05 s"):
        load_tokenizer("bert-base-uncased")
    waiting.set()


def test_offline_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = from_hub(monkeypatch, reached=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        load_tokenizer("bert-base-uncased")
    assert asked == []


def test_the_script_makes_a_tokenizer_that_a_run_can_take(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    small_data: CorpusConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert small_data.path is not None
    rows = tmp_path / "more.jsonl"
    rows.write_text("".join(json.dumps({"text": f"{s}."}) + "\n" for s in SENTENCES * 30))
    output = tmp_path / "tokenizer.json"
    files = [small_data.path, str(rows)]
    arguments = ["--kind", "wordpiece", "--vocab-size", "150", "--output", str(output)]
    script("train_tokenizer").main([*files, *arguments])
    assert capsys.readouterr().out == f"150 tokens; saved {output}\n"
    corpus = prepare(small_data, TokenizerConfig(path=str(output)), PairsConfig())
    assert corpus.tokenizer.get_vocab() == load_tokenizer(output).get_vocab()
    assert corpus.tokenizer.token_to_id("steel") is not None


def test_the_script_counts_what_is_left_out_once(
    script: Callable[[str], ModuleType], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its text is read a second time where the vocabulary has room for more characters."""
    rows = tmp_path / "rows.jsonl"
    cells = [*(f"{s}." for s in SENTENCES), 5]
    rows.write_text("".join(json.dumps({"text": cell}) + "\n" for cell in cells))
    output = str(tmp_path / "tokenizer.json")
    script("train_tokenizer").main([str(rows), "--kind", "wordpiece", "--output", output])
    (said,) = [entry.message for entry in caplog.records if "Left out" in entry.message]
    assert said.startswith("Left out: 1 cells")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.txt"], "absent.txt: nothing at"),
        (["a.txt", "--vocab-size", "4000"], "vocab_size=4000 is more than the corpus has"),
        (["a.txt", "--output", "no/such/folder.json"], "no/such/folder.json cannot be written"),
    ],
)
def test_the_script_says_what_is_wrong(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("\n".join(SENTENCES))
    with pytest.raises(SystemExit) as ended:
        script("train_tokenizer").main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert not Path("tokenizer.json").exists()
