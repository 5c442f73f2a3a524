"""The way from sentences to batches once more: slow, in plain Python, one example at a time.

It shares no code with the package. Random numbers are SplitMix64's finaliser over the keys, and
the streams' numbers are written out here, as changing one would change every run.
"""

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from bert_lightning.config import MaskingConfig

ORDER, IS_NEXT, SECOND_SENTENCE, MASKED, REPLACEMENT, RANDOM_WORD = range(6)
CUT, SHORT, SHORT_LENGTH = 8, 9, 10
SPAN_LENGTH = 11
PAD, UNK, CLS, SEP, MASK = range(5)
WORD = 2**64

Sentence = list[int]
Documents = list[list[list[Sentence]]]


class Example(NamedTuple):
    token_ids: list[int]
    token_types: list[int]
    positions: list[int]
    labels: list[int]
    nsp_label: int


def bits(*keys: int) -> int:
    state = 0
    for key in keys:
        state = ((state ^ key) + 0x9E3779B97F4A7C15) % WORD
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % WORD
        state = (state ^ state >> 27) * 0x94D049BB133111EB % WORD
        state = state ^ state >> 31
    return state


def uniform(number: int) -> float:
    return (number >> 11) / 2**53


def below(number: int, limit: int) -> int:
    return (number >> 32) * limit >> 32


def permuted(index: int, size: int, *keys: int) -> int:
    half = 1
    while 4**half < size:
        half += 1
    key = bits(*keys)
    while True:
        left, right = divmod(index, 2**half)
        for turn in range(6):
            left, right = right, left ^ bits(key, turn, right) % 2**half
        index = left * 2**half + right
        if index < size:
            return index


def encoded(text: list[list[list[str]]], vocabulary: dict[str, int]) -> Documents:
    """Prose of words and full stops as ids."""

    def ids(sentence: str) -> Sentence:
        return [vocabulary.get(word, UNK) for word in sentence.lower().replace(".", " .").split()]

    return [[[ids(s) for s in paragraph] for paragraph in document] for document in text]


def consecutive(documents: Documents) -> list[tuple[int, int, int]]:
    """The place (document, paragraph, sentence) of each sentence that another one follows."""
    return [
        (d, p, s)
        for d, document in enumerate(documents)
        for p, paragraph in enumerate(document)
        for s in range(len(paragraph) - 1)
    ]


def pair(
    documents: Documents, index: int, max_length: int, seed: int, epoch: int
) -> tuple[Sentence, Sentence, int]:
    d, p, s = consecutive(documents)[index]
    first = list(documents[d][p][s])
    if bits(seed, epoch, IS_NEXT, index) % 2 == 1:
        second, label = list(documents[d][p][s + 1]), 0
    else:
        elsewhere = [
            sentence
            for other, document in enumerate(documents)
            if other != d
            for paragraph in document
            for sentence in paragraph
        ]
        number = bits(seed, epoch, SECOND_SENTENCE, index)
        second, label = list(elsewhere[below(number, len(elsewhere))]), 1
    while len(first) + len(second) + 3 > max_length:
        (first if len(first) > len(second) else second).pop()
    return first, second, label


def swapped_pair(
    documents: Documents, index: int, max_length: int, seed: int, epoch: int
) -> tuple[Sentence, Sentence, int]:
    d, p, s = consecutive(documents)[index]
    first, second, label = list(documents[d][p][s]), list(documents[d][p][s + 1]), 0
    if bits(seed, epoch, IS_NEXT, index) % 2 == 0:
        first, second, label = second, first, 1
    while len(first) + len(second) + 3 > max_length:
        (first if len(first) > len(second) else second).pop()
    return first, second, label


def parts(documents: Documents, budget: int) -> list[tuple[int, list[Sentence]]]:
    """The runs of two or more sentences that fill an example, with their documents."""
    found = []
    for d, document in enumerate(documents):
        cut: list[list[Sentence]] = []
        seen, window = 0, -1
        for sentence in (sentence for paragraph in document for sentence in paragraph):
            if seen // budget != window:
                window = seen // budget
                cut.append([])
            cut[-1].append(sentence)
            seen += len(sentence)
        joined = [list(cut[0])]
        for number, part in enumerate(cut[1:], 1):
            if len(part) == 1 or (number == 1 and len(cut[0]) == 1):
                joined[-1] += part
            else:
                joined.append(list(part))
        found += [(d, part) for part in joined if len(part) > 1]
    return found


def segment_pair(
    documents: Documents,
    index: int,
    max_length: int,
    seed: int,
    epoch: int,
    task: str,
    short_seq_prob: float,
) -> tuple[Sentence, Sentence, int]:
    budget = max_length - 3
    d, part = parts(documents, budget)[index]
    target = budget
    if uniform(bits(seed, epoch, SHORT, index)) < short_seq_prob:
        target = 2 + below(bits(seed, epoch, SHORT_LENGTH, index), budget - 1)
    middle = 1 + below(bits(seed, epoch, CUT, index), len(part) - 1)
    first = [token for sentence in part[:middle] for token in sentence]
    second = [token for sentence in part[middle:] for token in sentence]
    follows = bits(seed, epoch, IS_NEXT, index) % 2 == 1
    if task == "nsp" and not follows:
        tails = [
            [token for later in sentences[place:] for token in later]
            for other, document in enumerate(documents)
            if other != d
            for sentences in [[sentence for paragraph in document for sentence in paragraph]]
            for place in range(len(sentences))
        ]
        tail = tails[below(bits(seed, epoch, SECOND_SENTENCE, index), len(tails))]
        second = tail[: max(1, target - len(first))]
    while len(first) + len(second) > target:
        (first if len(first) > len(second) else second).pop()
    if task == "sop" and not follows:
        first, second = second, first
    return first, second, 0 if follows else 1


def blocks(documents: Documents, max_length: int) -> list[Sentence]:
    room = max_length - 2
    texts = [[token for p in document for s in p for token in s] for document in documents]
    return [text[at : at + room] for text in texts for at in range(0, len(text), room)]


def example(
    documents: Documents,
    index: int,
    epoch: int,
    seed: int,
    max_length: int,
    config: MaskingConfig,
    vocab_size: int,
) -> Example:
    drawn = pair(documents, index, max_length, seed, epoch)
    return masked_example(*drawn, index, epoch, seed, config, vocab_size)


def masked_example(
    first: Sentence,
    second: Sentence,
    label: int,
    index: int,
    epoch: int,
    seed: int,
    config: MaskingConfig,
    vocab_size: int,
) -> Example:
    tokens, types = [CLS, *first, SEP], [0] * (len(first) + 2)
    if second:
        tokens += [*second, SEP]
        types += [1] * (len(second) + 1)

    name = bits(seed, epoch, index)
    maskable = [place for place, token in enumerate(tokens) if token not in (CLS, SEP)]
    wanted = min(max(1, round(config.mlm_probability * len(tokens))), len(maskable))
    by_draw = sorted(maskable, key=lambda place: (bits(bits(name, place), MASKED) >> 33, place))
    positions = sorted(by_draw[:wanted])
    labels = [tokens[place] for place in positions]
    ordinary = range(5, vocab_size)
    for place in positions:
        key = bits(name, place)
        draw = uniform(bits(key, REPLACEMENT))
        if draw < config.mask_replace_prob:
            tokens[place] = MASK
        elif draw < config.mask_replace_prob + config.random_replace_prob:
            tokens[place] = ordinary[below(bits(key, RANDOM_WORD), len(ordinary))]
    return Example(tokens, types, positions, labels, label)


def example_at(pairs: int, position: int, seed: int, phase: int = 0) -> tuple[int, int]:
    """Which example stands there in a phase's endless stream of examples, and in which epoch."""
    passes, place = divmod(position, pairs)
    epoch = phase * 2**32 + passes
    return permuted(place, pairs, seed, ORDER, epoch), epoch


def stream(pairs: int, seed: int, phase: int) -> Iterator[tuple[int, int, int]]:
    for position in count():
        example, epoch = example_at(pairs, position, seed, phase)
        yield phase, epoch, example


def phased_steps(
    shares: list[float], batch_sizes: list[int], epoch_sizes: list[int], steps: int, seed: int
) -> list[list[tuple[int, int, int]]]:
    """Each step's examples as (phase, epoch, example): the steps are gone through one by one."""
    ends = [round(sum(shares[: n + 1]) * steps) for n in range(len(shares))]
    streams = [stream(size, seed, phase) for phase, size in enumerate(epoch_sizes)]
    found = []
    for step in range(steps):
        phase = min(n for n, end in enumerate(ends) if step < end)
        found.append([next(streams[phase]) for _ in range(batch_sizes[phase])])
    return found


def words_of(
    starts: list[bool], maskable: list[bool], lengths: list[int]
) -> list[list[list[list[int]]]]:
    """Examples → stretches without special tokens → words → places of their tokens."""
    examples, place = [], 0
    for length in lengths:
        stretches: list[list[list[int]]] = [[]]
        for here in range(place, place + length):
            if not maskable[here]:
                stretches.append([])
            elif starts[here] or not stretches[-1]:
                stretches[-1].append([here])
            else:
                stretches[-1][-1].append(here)
        examples.append(stretches)
        place += length
    return examples


def span_length(number: float) -> int:
    """Geometric with p = 0.2, given that it is at most 10: the inverse of its distribution."""
    shares = [0.2 * 0.8**k for k in range(10)]
    length, reached = 1, shares[0]
    while length < 10 and number >= reached / sum(shares):
        reached += shares[length]
        length += 1
    return length


def spans_of(stretches: list[list[list[int]]], keys: list[int], unit: str) -> list[list[list[int]]]:
    """The words, or the spans of words, in the order in which they are chosen."""
    spans = []
    for stretch in stretches:
        for index, word in enumerate(stretch):
            key = keys[word[0]]
            length = span_length(uniform(bits(key, SPAN_LENGTH))) if unit == "span" else 1
            spans.append((bits(key, MASKED) >> 33, word[0], stretch[index : index + length]))
    return [words for _, _, words in sorted(spans)]


def mask(
    tokens: list[int],
    starts: list[bool],
    maskable: list[bool],
    lengths: list[int],
    predictions: list[int],
    keys: list[int],
    config: MaskingConfig,
    ordinary: list[int],
) -> tuple[list[int], list[int], list[int]]:
    """Masked tokens, positions and labels, one span after the other and one token at a time."""
    unit = config.unit.name
    if unit == "token":
        starts = [True] * len(tokens)
    shown, chosen = list(tokens), set()
    for stretches, wanted in zip(words_of(starts, maskable, lengths), predictions, strict=True):
        left = wanted
        for words in spans_of(stretches, keys, unit):
            draw = uniform(bits(keys[words[0][0]], REPLACEMENT))
            for place in (place for word in words for place in word):
                if place in chosen or left == 0:
                    continue
                chosen.add(place)
                left -= 1
                if draw < config.mask_replace_prob:
                    shown[place] = MASK
                elif draw < config.mask_replace_prob + config.random_replace_prob:
                    number = bits(keys[place], RANDOM_WORD)
                    shown[place] = ordinary[below(number, len(ordinary))]
    positions = sorted(chosen)
    return shown, positions, [tokens[place] for place in positions]
