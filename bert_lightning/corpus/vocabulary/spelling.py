"""Which spellings count as one: the normalizers of the vocabularies that are built here.

Text is brought into Unicode's form NFC, so that a letter with its marks is the same however it was
typed. Wordpieces are those of BERT, but marks and joiners that carry meaning stay: the vowel signs
of Hindi and Thai, the voicing marks of Japanese, the joiners of Persian and of emoji.
"""

from tokenizers import Regex, decoders
from tokenizers.normalizers import NFC, NFD, BertNormalizer, Lowercase, Normalizer, Replace

from bert_lightning.config import TokenizerConfig, TokenizerKind

ACCENTS = r"[\x{0300}-\x{036F}]"
"""The marks of Latin, Greek and Cyrillic letters."""
INVISIBLE = (
    r"[\x{00}-\x{08}\x{0E}-\x{1F}\x{7F}-\x{84}\x{86}-\x{9F}\x{AD}\x{200E}\x{200F}"
    r"\x{202A}-\x{202E}\x{2060}-\x{2064}\x{2066}-\x{206F}\x{FEFF}]"
)
"""Control characters, the soft hyphen, marks of direction: BERT deletes them too."""
ZERO_WIDTH_SPACE = "\u200b"
"""It ends a word, as in Khmer."""

_HAN = r"\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}\x{20000}-\x{2FA1F}"
_BESIDE_HAN = r"[\x{3005}-\x{30FF}\x{31F0}-\x{31FF}\x{2010}-\x{2027}\x{B7}]"
"""Kana, and the quotes and dashes of Chinese that other scripts have too."""
_WIDE_MARK = r"[\p{P}&&[\x{3000}-\x{303F}\x{30FB}\x{FF01}-\x{FF65}]]"
_NOT_WRITTEN = (
    rf"(?<={_WIDE_MARK}) | (?={_WIDE_MARK})"
    rf"|(?<=[{_HAN}]) (?=[{_HAN}]|{_BESIDE_HAN})|(?<={_BESIDE_HAN}) (?=[{_HAN}])"
)
"""Spaces between tokens that no text has: beside Chinese characters and wide punctuation."""


def as_written(prefix: str) -> decoders.Decoder:
    """Returns the decoder of wordpieces: tokens → text, with spaces where text has them."""
    spaces = decoders.Replace(Regex(_NOT_WRITTEN), "")
    return decoders.Sequence([decoders.WordPiece(prefix=prefix), decoders.Fuse(), spaces])


def as_spelled(config: TokenizerConfig) -> list[Normalizer]:
    """Returns the steps of the normalizer, each of which treats the words of a text one by one."""
    steps: list[Normalizer] = []
    if config.kind is TokenizerKind.wordpiece:
        chinese = BertNormalizer(
            clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False
        )
        steps = [Replace(Regex(INVISIBLE), ""), Replace(ZERO_WIDTH_SPACE, " "), chinese]
    if config.lowercase:
        steps.append(Lowercase())
    if config.strip_accents:
        steps += [NFD(), Replace(Regex(ACCENTS), "")]
    return [*steps, NFC()]
