"""Text without spaces, from which wordpieces are trained in bounded time.

Training takes time and memory for each distinct word. Text of words repeats them, but a line of
Thai or of DNA is a word of its own. Such a run is divided, and of many runs a sample is used.
"""

import logging
import re
from collections.abc import Iterable, Iterator

LONGEST_RUN = 50
"""Characters between two spaces, more than words have, after which a word is divided."""
MOST_UNSPACED = 4_000_000
"""Characters of long runs after which every other run is used, and so on after as many again."""
_RUN = re.compile(rf"[^\s\u3400-\u9fff\uf900-\ufaff]{{{LONGEST_RUN + 1},}}")
"""Chinese characters are words of their own."""
_log = logging.getLogger(__name__)


def thinned(sentences: Iterable[str]) -> Iterator[str]:
    """Passes on sentences, all that is written with spaces, and a sample of the long runs."""
    seen = used = runs = 0

    def sample(run: re.Match[str]) -> str:
        nonlocal seen, used, runs
        size = run.end() - run.start()
        chosen = runs % 2 ** (used // MOST_UNSPACED) == 0
        seen, used, runs = seen + size, used + size * chosen, runs + 1
        return run[0] if chosen else " "

    for sentence in sentences:
        yield _RUN.sub(sample, sentence)
    if used < seen:
        _log.warning(
            "%s characters of the text stand in runs of more than %s without a space; the "
            "wordpieces are trained on a sample of them, %s characters, and on all other text.",
            *(f"{seen:,}", LONGEST_RUN, f"{used:,}"),
        )
