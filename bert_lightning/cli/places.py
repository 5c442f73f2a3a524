"""Where the configs lie: in a wheel, an editable install or a checkout."""

from pathlib import Path


def conf_dir() -> Path:
    """Returns the folder of the configs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).absolute().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"
