"""Draws one of the five pictures into a file."""

from argparse import Namespace

from bert_lightning.runs.folder import shown
from bert_lightning.work import working


def main(args: Namespace) -> None:
    """Draws the picture that `args.picture` names, and says which file it is in."""
    from bert_lightning.pictures import draw  # with matplotlib, slow to import

    given = vars(args)
    picture, out = given.pop("picture"), given.pop("out")
    with working("drawing"):
        file = getattr(draw, picture)(**given).save(out)
    print(f"saved {shown(file)}")
