"""Where `speak -o` writes: a file that is replaced once the new one is whole, or a device or pipe that takes it all."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

SYSTEM_FOLDERS = ("/dev/", "/proc/", "/sys/")
"""Nothing is made in these: what stands there is written to, as `/dev/stdout` is."""


def check(target: Path) -> None:
    """Say what is wrong with a target before there is anything to write; raises OSError that names it."""
    if target.is_dir():
        raise OSError(f"{target} cannot be written: {target} is a folder")
    folder = Path(os.path.realpath(target)).parent
    if not folder.is_dir():
        raise OSError(f"{target} cannot be written: there is no folder {folder}")


@contextlib.contextmanager
def written(target: Path) -> Generator[BinaryIO]:
    """A file to write, which can be read and sought unless it is a device or a pipe.

    A regular file has its new content only when the block ends without an error: whole, at once, under all its names
    (links are followed), and whoever writes to it at the same time. Raises OSError that names the target.
    """
    check(target)
    try:
        found = _status(target)
        if target.absolute().as_posix().startswith(SYSTEM_FOLDERS) or (
            found is not None and not stat.S_ISREG(found.st_mode)
        ):
            with target.open("wb") as device:
                yield device
            return
        real = Path(os.path.realpath(target))
        with _replacing(real, found) as file:
            yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(f"{target} cannot be written: {error.strerror or error}") from error


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _replacing(target: Path, found: os.stat_result | None) -> Generator[BinaryIO]:
    """A new file beside the target that takes its place in the end; where that cannot be, its content is copied."""
    copies = found is not None and (found.st_nlink > 1 or not os.access(target.parent, os.W_OK))
    if copies and not os.access(target, os.W_OK):
        raise PermissionError("it may not be written")
    folder = None if copies else target.parent
    descriptor, name = tempfile.mkstemp(prefix=".orpheus-", suffix=".partial", dir=folder)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
        if copies:
            shutil.copyfile(partial, target)
            return
        _adopt_status(partial, found)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _adopt_status(new: Path, old: os.stat_result | None) -> None:
    """Give the new file the owner and the permissions that the old one had, or that any new file gets."""
    if old is None:
        umask = os.umask(0)
        os.umask(umask)
        new.chmod(0o666 & ~umask)
        return
    with contextlib.suppress(PermissionError):
        os.chown(new, old.st_uid, old.st_gid)
    new.chmod(stat.S_IMODE(old.st_mode))
