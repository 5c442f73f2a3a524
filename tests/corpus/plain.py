"""Encoding sentence by sentence, against which the faster encoding by distinct words is checked."""

from tokenizers import Tokenizer

from bert_lightning.batch import SPECIAL_TOKENS, UNK
from bert_lightning.corpus.tokenizer import special_id


def encode_plain(tokenizer: Tokenizer, sentences: list[str]) -> list[list[int]]:
    """Returns ids without `[CLS]` and `[SEP]`; special tokens in the text are ordinary text."""
    unknown = special_id(tokenizer, UNK)
    special = {special_id(tokenizer, token) for token in SPECIAL_TOKENS}
    tokenizer.encode_special_tokens = True
    encodings = tokenizer.encode_batch_fast(sentences, add_special_tokens=False)
    tokenizer.encode_special_tokens = False
    return [[unknown if i in special else i for i in encoding.ids] for encoding in encodings]
