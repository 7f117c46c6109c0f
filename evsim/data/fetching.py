"""Where data files are, and where they come from.

Files are looked for in the folder that the user gives, or in the folder that the environment
variable EVSIM_DATA names, or in evsim's cache.  They are downloaded only on request, and then
compared with the checksums of their publishers.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from evsim.arguments.checks import check_flag, check_is, checked_path, listed
from evsim.arguments.keywords import helpful
from evsim.arguments.paths import user_path
from evsim.data.readers.files import DataFileError
from evsim.storage.files import replacing


@helpful
@dataclass(frozen=True)
class PublishedFile:
    """A file of a data set, and where to get it.

    Parameters
    ----------
    name : str
        The name of the unpacked file.
    source : str
        Where it comes from, as a text for the user.
    url : str, optional
        What to download: the file, the file packed with gzip, or a zip archive that contains it.
        "doi:..." is looked up at the repository, which also provides the checksum.
    checksum : str, optional
        "md5:..." of the download.
    instead : tuple of str
        Names of files with the same data, which are preferred.
    also : tuple of str
        Other names, or paths below the folder, under which other programs keep the file.
    packages : tuple of str
        Paths of the file in Python packages that provide it, such as "aeon/datasets/file.ts".
    """

    name: str
    source: str
    url: str | None = None
    checksum: str | None = None
    instead: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which the file may lie in a folder, the first one preferred."""
        plain_or_packed = [
            name for plain in (self.name, *self.also) for name in (plain, f"{plain}.gz")
        ]
        is_published_as_zip = self.url is not None and self.url.endswith(f"/{self.name}.zip")
        zipped = [f"{self.name}.zip"] if is_published_as_zip else []
        return (*self.instead, *plain_or_packed, *zipped)


@helpful
def data_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder of data files: the given one, the one that EVSIM_DATA names, or the cache."""
    if folder is not None:
        return checked_path(folder, "folder")
    if os.environ.get("EVSIM_DATA"):
        return user_path(os.environ["EVSIM_DATA"])
    import pooch

    return Path(pooch.os_cache("evsim"))


@helpful
def locate(
    files: Sequence[PublishedFile],
    folder: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
) -> tuple[Path, ...]:
    """The paths of data files, in their order.

    Parameters
    ----------
    files : sequence of PublishedFile
    folder : path, optional
        Where to look and where downloads are stored; the default is that of ``data_folder``.
        Only without it are files also looked for in the Python packages that provide them.
    download : bool
        Whether to download what is missing.  Downloads are checked and kept; of a zip archive,
        both the archive and the unpacked file are kept.

    Raises
    ------
    FileNotFoundError
        Without ``download``, for missing files, all of them in one message; with it, for
        missing files that cannot be downloaded.
    DataFileError, ValueError
        For downloads that differ from what was published.
    OSError
        For downloads that fail.
    """
    remedy = "give a list of evsim.datasets.PublishedFile"
    files = listed(files, "files", remedy)
    for number, file in enumerate(files):
        check_is(file, f"files[{number}]", PublishedFile, remedy)
    check_flag(download, "download")
    place = data_folder(folder)
    found = {file: _found(file, place) for file in files}
    if folder is None:
        found = {file: path or _found_in_package(file) for file, path in found.items()}
    missing = [file for file in files if found[file] is None]
    unavailable = [file for file in missing if not download or file.url is None]
    if unavailable:
        raise MissingFilesError(unavailable, place)
    return tuple(found[file] or _download(file, place) for file in files)


def _found(file: PublishedFile, place: Path) -> Path | None:
    return next((place / name for name in file.names if (place / name).is_file()), None)


def _found_in_package(file: PublishedFile) -> Path | None:
    """The file in an installed package, which is not imported."""
    for inside in file.packages:
        package, _, rest = inside.partition("/")
        found = find_spec(package)
        for parent in (found and found.submodule_search_locations) or ():
            if (Path(parent) / rest).is_file():
                return Path(parent) / rest
    return None


class MissingFilesError(FileNotFoundError):
    """Files of a data set are missing.

    Parameters
    ----------
    files : sequence of PublishedFile
        The missing files, at least one.
    folder : Path
        Where they were looked for.
    """

    def __init__(self, files: Sequence[PublishedFile], folder: Path) -> None:
        self.files = tuple(files)
        self.folder = folder
        remedy = self.remedy("pass download=True to fetch them there", "the argument folder")
        super().__init__(f"{self.absence}; {remedy}")

    def __reduce__(self) -> tuple[type, tuple[tuple[PublishedFile, ...], Path]]:
        return type(self), (self.files, self.folder)

    @property
    def absence(self) -> str:
        """Which files are missing, where, and where they come from."""
        names = ", ".join(file.name for file in self.files)
        sources = ", ".join(dict.fromkeys(file.source for file in self.files))
        where = f"{self.folder}, plain or packed"
        if not self.folder.is_dir():
            where = f"{self.folder}: there is no such folder"
        return f"no {names} in {where}; they come from {sources}"

    def remedy(self, download: str, folder: str) -> str:
        """What to do; the arguments say how to request a download and how to give a folder."""
        offered = f"{download}, " if self.files[0].url else ""
        return (
            f"{offered}put them there, or name their folder with {folder} or the environment "
            "variable EVSIM_DATA"
        )


# -- downloads ----------------------------------------------------------------------------


def _download(file: PublishedFile, place: Path) -> Path:
    assert file.url is not None
    try:
        path = _fetch_doi(file.url, place) if file.url.startswith("doi:") else _fetch(file, place)
    except OSError as error:  # the errors of the library that pooch downloads with are OSErrors
        raise OSError(
            f"{file.url} could not be downloaded ({error}): try again later, or get {file.name} "
            f"from {file.source} and put it into {place}"
        ) from error
    return _from_archive(path, file.name) if path.suffix == ".zip" else path


def _fetch(file: PublishedFile, place: Path) -> Path:
    import pooch

    assert file.url is not None
    name = file.url.rpartition("/")[2]
    return Path(pooch.retrieve(file.url, known_hash=file.checksum, fname=name, path=place))


def _fetch_doi(url: str, place: Path) -> Path:
    """Download from a repository, which provides the checksum."""
    import pooch

    base, _, name = url.rpartition("/")
    repository = pooch.create(path=place, base_url=f"{base}/", registry=None)
    repository.load_registry_from_doi()
    if name not in repository.registry:
        raise DataFileError(
            f"{url} is not offered any more, but {sorted(repository.registry)}: get the data by "
            "hand"
        )
    return Path(repository.fetch(name))


def _from_archive(archive: Path, name: str) -> Path:
    """Unpack one file of a zip archive into the same folder, completely or not at all."""
    target = archive.with_name(name)
    with zipfile.ZipFile(archive) as packed:
        if name not in packed.namelist():
            raise DataFileError(
                f"{archive} holds no {name} but {packed.namelist()}: unpack the data by hand"
            )
        with packed.open(name) as source, replacing(target) as file:
            shutil.copyfileobj(source, file, 1 << 20)
    return target
