"""The files that an address such as `s3://bucket/folder` names, through fsspec and its drivers."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from bert_lightning.corpus.readers.kinds import is_meant
from bert_lightning.corpus.readers.left_out import HIDDEN, LeftOut, shown
from bert_lightning.corpus.readers.storage.remote import RemoteFile, told
from bert_lightning.errors import UserError

_HIDDEN_ARE_READ = "data.path=NAME reads one"
_MAGIC = frozenset("*?[")


def remote_files(address: str, left_out: LeftOut, unnamed: LeftOut) -> list[RemoteFile]:
    """Returns the files, sorted: one, those below a folder, or those that match a pattern.

    Raises:
        UserError: the storage does not answer, or has nothing of this name.
    """
    system, path = _system_of(address)
    try:
        told(system.invalidate_cache)
        found = list(_matching(system, path, left_out, unnamed))
    except FileNotFoundError:
        found = []
    except OSError as error:
        what = str(error.strerror or error).rstrip(".")
        raise UserError(
            f"data.path={shown(address)} cannot be read: {what}; it may need credentials, which "
            "its driver takes from the environment or its own files"
        ) from error
    if not found and not [*left_out]:
        raise UserError(
            f"data.path={shown(address)}: nothing is there; give the address of a file, a "
            "folder or a pattern, in quotes"
        )
    return sorted(found, key=lambda file: file.path)


def _system_of(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs
    from fsspec.registry import known_implementations

    protocol = address.partition("://")[0]
    try:
        system, path = url_to_fs(address)
    except ImportError as error:
        package = known_implementations.get(protocol, {}).get("class", "fsspec").partition(".")[0]
        way_out = f"{error}" if package == "fsspec" else f"pip install {package}"
        raise UserError(
            f"data.path={shown(address)}: {protocol}:// needs a driver of fsspec: {way_out}"
        ) from error
    except Exception as error:  # whatever a driver says of a wrong address
        known = "s3://BUCKET/FOLDER, gs://, az:// and hf://datasets/NAME are some that fsspec reads"
        raise UserError(f"data.path={shown(address)}: {error}; {known}") from error
    if protocol in ("file", "local"):
        raise UserError(f"data.path={shown(address)}: give the path alone: data.path={shown(path)}")
    return system, path


def _matching(system: Any, path: str, left_out: LeftOut, unnamed: LeftOut) -> Iterator[RemoteFile]:
    if _MAGIC.isdisjoint(path):
        entries = [told(partial(system.info, path))]
    else:
        entries = [*told(partial(system.glob, path, detail=True)).values()]
    hidden = "/." in path  # and meant
    for entry in entries:
        file = _file(system, entry)
        if not hidden and "/." in file.path:
            left_out.add(HIDDEN, shown(file), _HIDDEN_ARE_READ)
        elif entry["type"] != "directory":
            yield file
        elif "**" not in path:
            yield from _below(system, file.path, left_out, unnamed)


def _below(system: Any, folder: str, left_out: LeftOut, unnamed: LeftOut) -> Iterator[RemoteFile]:
    for path, entry in told(partial(system.find, folder, detail=True)).items():
        file = _file(system, entry)
        if path.endswith("/"):  # what stands for a folder in a storage without folders
            continue
        if "/." in path.removeprefix(folder):
            left_out.add(HIDDEN, shown(file), _HIDDEN_ARE_READ)
        elif is_meant(file, left_out, unnamed):
            yield file


def _file(system: Any, entry: dict[str, Any]) -> RemoteFile:
    return RemoteFile(system, entry["name"], entry.get("size") or 0)
