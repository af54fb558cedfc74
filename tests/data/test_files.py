"""Files are found and read alike in folders and archives; archives that would write elsewhere are refused."""

import errno
import os
import stat
import zipfile
import zlib
from pathlib import Path
from unittest import mock

import pytest

from arlrepro.data.files import stored
from arlrepro.data.files.stored import StoredFile, list_files
from helpers import isic_folder
from helpers.cases import case
from helpers.stored_files import message


def archive(folder: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry, data in entries:
            file.writestr(entry, data)
    return path


@pytest.mark.parametrize("name", ["../a.jpg", "x/../../a.jpg", "/etc/a.jpg", "..\\a.jpg", "C:\\a.jpg"])
def test_archive_entries_outside_the_archive_are_refused(tmp_path, name):
    path = archive(tmp_path, ("b.jpg", b"x"), (name, b"x"))
    assert message(list_files, path) == (
        f"{path}: 1 entries are links or point outside the archive: {name}. "
        "The official archives have none; do not use this one."
    )


def test_archive_entries_that_are_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = archive(tmp_path, (link, b"/etc/passwd"))
    assert "1 entries are links or point outside the archive: link.jpg." in message(list_files, path)


def test_an_archive_that_declares_far_more_than_it_holds_is_refused(tmp_path):
    path = archive(tmp_path, ("a.jpg", bytes(200 * 2**20)))
    assert message(list_files, path) == (
        f"{path}: {path.stat().st_size} bytes that declare to be {200 * 2**20} unpacked: no archive of images. "
        "Do not use this one."
    )


def test_a_damaged_archive_entry_is_named(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.jpg", b"some bytes")
    path.write_bytes(path.read_bytes().replace(b"some bytes", b"same bytes"))
    [file] = list_files(path).files
    assert message(file.read) == f"{path}/a.jpg: is damaged (Bad CRC-32 for file 'a.jpg'). Fetch the archive again."


def test_a_file_that_is_no_archive_is_named(tmp_path):
    (tmp_path / "images.zip").write_bytes(b"")
    assert message(list_files, tmp_path / "images.zip") == (
        f"{tmp_path}/images.zip: not a whole zip archive (File is not a zip file). Fetch it again."
    )


@pytest.mark.parametrize(
    ("number", "what", "remedy"),
    [
        (errno.EMFILE, "Too many open files", "raise the limit on open files (ulimit -n)"),
        (errno.EIO, "Input/output error", "the disk has a fault: look at it before going on"),
    ],
)
def test_an_archive_that_the_system_does_not_open_is_not_called_damaged(tmp_path, monkeypatch, number, what, remedy):
    path = archive(tmp_path, ("a.jpg", b"x"))
    monkeypatch.setattr(stored.zipfile, "ZipFile", mock.Mock(side_effect=OSError(number, what)))
    assert message(list_files, path) == f"{path}: cannot be read ({what}); {remedy}."


def test_an_archive_that_was_replaced_is_read_anew(tmp_path):
    [before] = list_files(archive(tmp_path, ("a.jpg", b"before"))).files
    assert before.read() == b"before"
    path = archive(tmp_path, ("a.jpg", b"after"))
    assert list_files(path).files[0].read() == b"after"


def test_what_macos_adds_is_not_listed(tmp_path):
    path = archive(tmp_path, ("d/a.jpg", b"x"), ("__MACOSX/d/._a.jpg", b"x"), ("d/.DS_Store", b"x"))
    assert [file.name for file in list_files(path).files] == ["d/a.jpg"]


@pytest.mark.parametrize("separator", ["\\", "/"])
def test_entries_written_on_windows_are_found_and_read(tmp_path, separator):
    path = archive(tmp_path, (f"d{separator}e{separator}", b""), (f"d{separator}e{separator}a.jpg", b"x"))
    [file] = list_files(path).files
    assert (file.name, file.stem, file.read(), file.crc32()) == ("d/e/a.jpg", "a", b"x", zlib.crc32(b"x"))


def test_a_folder_that_a_careless_tool_extracted_keeps_its_ids(tmp_path):
    (tmp_path / "d\\a.jpg").write_bytes(b"x")
    [file] = list_files(tmp_path).files
    assert (file.base, file.stem, file.read()) == ("a.jpg", "a", b"x")


@pytest.mark.parametrize(
    ("method", "name"),
    [(9, "Deflate64"), (12, "bzip2"), (14, "LZMA"), (93, "Zstandard"), (95, "XZ"), (98, "method 98")],
)
def test_an_archive_of_another_compression_says_which_and_how_to_unpack_it(tmp_path, method, name):
    path = archive(tmp_path, ("a.jpg", b"x" * 99))
    whole = path.read_bytes()
    place = whole.index(b"PK\x01\x02") + 10  # of the method in the directory, as PKWARE's APPNOTE numbers them
    path.write_bytes(whole[:place] + bytes([method]) + whole[place + 1 :])
    assert message(list_files, path) == (
        f"{path}: 1 of 1 entries are compressed by {name}, which is not read: a.jpg. Extract it (unzip and 7-Zip can) "
        "into the folder beside it, and take the archive away; or pack it anew with Deflate."
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_that_python_could_unpack_by_another_method_is_refused_all_the_same(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "images.zip", "w", method) as file:
        file.writestr("a.jpg", b"x" * 99)
    assert "which is not read: a.jpg. Extract it" in message(list_files, tmp_path / "images.zip")


def test_encryption_is_named(tmp_path):
    path = archive(tmp_path, ("a.jpg", b"x"))
    whole = path.read_bytes()
    central = whole.index(b"PK\x01\x02")
    path.write_bytes(whole[: central + 8] + b"\x01" + whole[central + 9 :])
    assert ": 1 of 1 entries are encrypted: a.jpg. Extract it with its password" in message(list_files, path)


def test_an_entry_that_unpacks_to_more_than_it_declares_is_read_no_further(tmp_path):
    path = archive(tmp_path, ("a.jpg", bytes(2**24)))
    whole = bytearray(path.read_bytes())
    central = whole.index(b"PK\x01\x02")
    for place in (22, central + 24):
        whole[place : place + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(whole)
    [file] = list_files(path).files
    assert message(file.read).startswith(f"{path}/a.jpg: is damaged (Bad CRC-32")


def test_linked_folders_are_entered_once_and_circles_of_links_end(tmp_path):
    store = isic_folder.write(tmp_path / "store", {"a.jpg": b"a", "b.jpg": b"b"})
    folder = isic_folder.write(tmp_path / "in", {"c.jpg": b"c"})
    (folder / "first").symlink_to(store)
    (folder / "second").symlink_to(store)
    (folder / "up").symlink_to("..")
    (store / "back").symlink_to(folder)
    found = list_files(folder)
    assert sorted(file.base for file in found.images) == ["a.jpg", "b.jpg", "c.jpg"]
    assert list(found.skipped) == [stored.AGAIN]
    assert f"{folder}/second" in found.skipped[stored.AGAIN]


@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_no_image_of_a_lesion_is_passed_over_by_reason(tmp_path, zipped):
    names = ["own.jpg", "._own.jpg", ".hidden/a.png", "@eaDir/own.jpg", "Thumbs/own.png", "IMG_1.HEIC", "notes.txt"]
    inside = {f"d/{name}": b"x" for name in names}
    if zipped:
        place = archive(tmp_path, *inside.items())
    else:
        place = tmp_path
        for name, data in inside.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
    found = list_files(place)
    assert [file.base for file in found.images] == ["own.jpg"]
    assert {reason: len(passed) for reason, passed in found.skipped.items()} == {
        stored.HIDDEN: 2, stored.THUMBNAILS: 2, stored.FOREIGN: 1,
    }  # fmt: skip


def test_links_to_nothing_pipes_and_links_to_themselves_are_named(tmp_path):
    (tmp_path / "lost").symlink_to(tmp_path / "unplugged")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = list_files(tmp_path)
    assert found.files == ()
    assert found.skipped == {
        stored.NOWHERE: (f"{tmp_path}/lost", f"{tmp_path}/self.jpg"),
        stored.IRREGULAR: (f"{tmp_path}/pipe.jpg",),
    }
    assert message(StoredFile(tmp_path, "pipe.jpg", 0).read) == (
        f"{tmp_path}/pipe.jpg: is a pipe, a device or a folder, not a picture or a table. Name a file."
    )
    assert message(StoredFile(tmp_path, "none.jpg", 0).read) == f"{tmp_path}/none.jpg: is not there. Name a file."


def test_the_reported_archives_from_windows_are_read_or_named():
    assert len(list_files(case("01-zip-backslashes") / "ISIC-2017_Training_Data.zip").images) == 6
    refused = message(list_files, case("02-zip-deflate64") / "ISIC-2017_Training_Data.zip")
    assert "entries are compressed by Deflate64, which is not read" in refused
