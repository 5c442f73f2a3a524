"""What people look at: pictures, and the report of a run, a sweep or a study."""

from argparse import Namespace
from pathlib import Path

from bert_lightning.reports.page.write import PAGE
from bert_lightning.runs.folder import shown
from bert_lightning.work import working


def picture(args: Namespace) -> None:
    """Draws the picture that `args.picture` names, and says which file it is in."""
    from bert_lightning.pictures import draw  # with matplotlib, slow to import

    given = vars(args)
    name, out = given.pop("picture"), given.pop("out")
    with working("drawing"):
        file = getattr(draw, name)(**given).save(out)
    print(f"saved {shown(file)}")
    if (file.parent / PAGE).is_file():
        report(Namespace(run=file.parent))


def report(args: Namespace) -> None:
    """Writes the report anew, from the files in its folder."""
    from bert_lightning.reports.page.pages import write_pages  # with matplotlib, slow to import

    for file in write_pages(Path(args.run)):
        print(f"saved {shown(file)}")
