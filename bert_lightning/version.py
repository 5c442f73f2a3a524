"""Which version of the package this is."""

from importlib import metadata


def installed_version() -> str:
    """Returns the version of the installed package; `0+unknown` in a checkout that is not."""
    try:
        return metadata.version("bert-lightning")
    except metadata.PackageNotFoundError:
        return "0+unknown"
