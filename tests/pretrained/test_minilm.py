"""Real weights as they are published: a trained pooler, no pretraining heads, a tokenizer's own
truncation and padding to 128 tokens."""

from pathlib import Path

import pytest
import torch

import bert_lightning
from bert_lightning.errors import UserError

pytestmark = pytest.mark.slow
TEXTS = ["A crane is flying.", "A crane driver came, unloading steel: " * 20]


def test_every_layer_equals_that_of_transformers(minilm: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    model = transformers.AutoModel.from_pretrained(minilm).eval()
    bert = bert_lightning.load(minilm)
    for text in TEXTS:
        inputs = tokenizer(text, return_tensors="pt", truncation=False, padding=False)
        assert bert.encode(text).tokens == tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
        with torch.inference_mode():
            theirs = model(**inputs, output_hidden_states=True).hidden_states
        assert len(theirs) == 7
        for layer, expected in enumerate(theirs):
            ours = bert.encode(text, layer=layer).vectors
            torch.testing.assert_close(ours, expected[0], rtol=0, atol=2e-5)
    assert bert.encode(TEXTS[1]).vectors.shape[0] > 128


def test_only_the_heads_that_it_lacks_are_refused(minilm: Path) -> None:
    bert = bert_lightning.load(minilm)
    assert bert.missing_heads == {"mlm_head", "nsp_head"}
    with pytest.raises(UserError, match="no masked-language-model head"):
        bert.fill_mask("a [MASK] is flying")
