"""Trains a recipe or a variant of it, evaluates it, and judges it by the rules of the race.

python scripts/run_recipe.py tiny_8min data.path=wikitext-2 --seed 0
python scripts/run_recipe.py tiny_8min data.path=wikitext-2 --variant smaller_lr optim.lr=4e-3
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks are not installed

from benchmarks.referee import main

if __name__ == "__main__":
    main()
