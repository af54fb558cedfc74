"""Archives that would write elsewhere are refused; any image decodes right or is named; any table reads the same."""

import io
import os
import stat
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arlrepro.data import files
from arlrepro.data.files import StoredFile, decode_image, decode_mask, list_files, read_table
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.errors import ConfigError, DatasetError
from helpers import isic_folder
from helpers.cases import case

PIXELS = isic_folder.pixels(1, 40, 24)


def stored(folder: Path, data: bytes, name: str = "a.jpg") -> StoredFile:
    (folder / name).write_bytes(data)
    return StoredFile(folder, name, len(data))


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(folder: Path, data: bytes, **options) -> np.ndarray:
    return np.asarray(decode_image(stored(folder, data), **options))


def archive(folder: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry, data in entries:
            file.writestr(entry, data)
    return path


def message(call, *arguments) -> str:
    with pytest.raises(DatasetError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_LZMA, "LZMA"), (zipfile.ZIP_BZIP2, "bzip2")])
def test_an_archive_of_another_compression_says_which_and_how_to_unpack_it(tmp_path, method, name):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.jpg", b"x" * 99)
    assert message(list_files, path) == (
        f"{path}: 1 of 1 entries are compressed by {name}, which is not read: a.jpg. Extract it (unzip and 7-Zip can) "
        "into the folder beside it, and take the archive away; or pack it anew with Deflate."
    )


def test_deflate64_and_encryption_are_named(tmp_path):
    path = archive(tmp_path, ("a.jpg", b"x"))
    whole = path.read_bytes()
    central = whole.index(b"PK\x01\x02")
    path.write_bytes(whole[: central + 10] + b"\x09" + whole[central + 11 :])
    assert ": 1 of 1 entries are compressed by Deflate64, which is not read: a.jpg. " in message(list_files, path)
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
    listing = list_files(folder)
    assert sorted(file.base for file in listing.images) == ["a.jpg", "b.jpg", "c.jpg"]
    assert list(listing.skipped) == [files.AGAIN]
    assert f"{folder}/second" in listing.skipped[files.AGAIN]


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
    listing = list_files(place)
    assert [file.base for file in listing.images] == ["own.jpg"]
    assert {reason: len(passed) for reason, passed in listing.skipped.items()} == {
        files.HIDDEN: 2, files.THUMBNAILS: 2, files.FOREIGN: 1,
    }  # fmt: skip


def test_links_to_nothing_pipes_and_links_to_themselves_are_named(tmp_path):
    (tmp_path / "lost").symlink_to(tmp_path / "unplugged")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    listing = list_files(tmp_path)
    assert listing.files == ()
    assert listing.skipped == {
        files.NOWHERE: (f"{tmp_path}/lost", f"{tmp_path}/self.jpg"),
        files.IRREGULAR: (f"{tmp_path}/pipe.jpg",),
    }
    assert message(StoredFile(tmp_path, "pipe.jpg", 0).read) == (
        f"{tmp_path}/pipe.jpg: is a pipe, a device or a folder, not a picture or a table. Name a file."
    )
    assert message(StoredFile(tmp_path, "none.jpg", 0).read) == f"{tmp_path}/none.jpg: is not there. Name a file."


EXPECTED = [["A", "0.1", "0.25"], ["B", "1", ""]]


@pytest.mark.parametrize(
    "text",
    [
        "id,x,y\nA,0.1,0.25\nB,1,\n",
        "id;x;y\nA;0,1;0,25\nB;1;\n",
        "id\tx\ty\r\nA\t0,1\t0.25\r\nB\t1\t\r\n",
        '"id"\t"x"\t"y"\n"A"\t0.1\t0.25\n"B"\t1\t\n',
        "sep=,\nid,x,y\nA,0.1,0.25\nB,1,\n",
        "sep=;\r\nid;x;y\r\nA;0,1;0,25\r\nB;1;\r\n",
        '"sep=\t"\nid\tx\ty\nA\t0.1\t0.25\nB\t1\t\n',
        "id,x,y,,\nA,0.1,0.25,,\nB,1,,,\n",
        "id,x,y,,\nA,0.1,0.25\nB,1,\n",
        "id,x,y\nA,0.1,0.25,,\nB,1,,\n",
        ",id,x,y\n0,A,0.1,0.25\n1,B,1,\n",
        "ID, X ,Y\nA,0.1,0.25\nB,1,\n,,\n",
    ],
)
def test_a_table_reads_the_same_however_a_spreadsheet_saved_it(tmp_path, text):
    for data in (text.encode("utf-8-sig"), text.encode("utf-16")):
        table = read_table(stored(tmp_path, data, "table.csv"))
        assert list(table.columns) == ["id", "x", "y"]
        assert table.to_numpy().tolist() == EXPECTED


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("id,x,,y\nA,1,2,3\n", "1 columns have cells but no name: columns 3. Name them."),
        ("id,x\nA,0,1\n", "1 rows have not the header's 2 cells: rows 2. Mend them."),
        ("sep=;\nid;x\nA;1\nB\n", "1 rows have not the header's 2 cells: rows 4. Mend them."),
    ],
)
def test_a_table_of_no_certain_meaning_is_named_for_what_it_is(tmp_path, text, what):
    file = stored(tmp_path, text.encode(), "table.csv")
    assert message(read_table, file) == f"{file}: {what}"


def test_a_comma_in_a_text_is_no_decimal_comma(tmp_path):
    table = read_table(stored(tmp_path, b"id;note\nA;0,5\nB;0,5 mm\n", "table.csv"))
    assert table["note"].tolist() == ["0,5", "0,5 mm"]


def test_the_reported_archives_from_windows_are_read_or_named():
    assert len(list_files(case("01-zip-backslashes") / "ISIC-2017_Training_Data.zip").images) == 6
    refused = message(list_files, case("02-zip-deflate64") / "ISIC-2017_Training_Data.zip")
    assert "entries are compressed by Deflate64, which is not read" in refused


def test_the_reported_photographs_are_named_with_their_remedy():
    large = StoredFile(case("27-photograph-108-megapixel"), "S21_20230401.jpg", 0)
    assert "has 108 million pixels" in message(decode_image, large)
    telephone = StoredFile(case("28-iphone-heic"), "IMG_0001.HEIC", 0)
    assert message(decode_image, telephone) == f"{telephone}: is a HEIC picture, which is not read. Export it as JPEG."


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_decode_exactly_under_any_suffix(tmp_path, format):
    assert (decoded(tmp_path, isic_folder.encoded(PIXELS, format)) == PIXELS).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [None, 8])
def test_exif_orientation_is_undone(tmp_path, orientation, side):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = {1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud,
            5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, -1),
            7: lambda p: np.rot90(p, 2).transpose(1, 0, 2), 8: np.rot90}[orientation]  # fmt: skip
    upright = np.ascontiguousarray(turn(PIXELS))
    for format in ("PNG", "TIFF"):
        turned = decoded(tmp_path, isic_folder.encoded(PIXELS, format, exif=exif), side=side)
        assert (turned == decoded(tmp_path, isic_folder.encoded(upright, "PNG"), side=side)).all()


def test_cmyk_decodes_to_the_colours_it_stands_for(tmp_path):
    cmyk = saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG", quality=100, subsampling=0)
    assert np.abs(decoded(tmp_path, cmyk).astype(int) - PIXELS).max() <= 4


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    grey = np.linspace(0, 65535, 24 * 40).astype(np.uint16).reshape(24, 40)
    expected = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    assert (decoded(tmp_path, isic_folder.encoded(grey, "PNG")) == expected).all()
    assert (decoded(tmp_path, isic_folder.encoded(grey, "TIFF")) == expected).all()


def test_palette_and_transparent_images_keep_their_colours(tmp_path):
    palette = Image.fromarray(PIXELS).quantize(16)
    colours = np.asarray(palette.convert("RGB"))
    assert (decoded(tmp_path, saved(palette, "PNG", transparency=bytes(range(16)))) == colours).all()
    rgba = np.dstack([PIXELS, np.full(PIXELS.shape[:2], 7, dtype=np.uint8)])
    assert (decoded(tmp_path, isic_folder.encoded(rgba, "PNG")) == PIXELS).all()


def test_pixels_without_a_known_range_are_refused(tmp_path):
    file = stored(tmp_path, isic_folder.encoded(np.zeros((4, 4), dtype=np.float32), "TIFF"))
    assert message(decode_image, file) == (f"{file}: 'F' pixels have no known range. Save it with 8 bits a channel.")


def test_truncated_empty_and_foreign_files_are_named(tmp_path):
    whole = isic_folder.encoded(isic_folder.pixels(1, 400, 400))
    truncated = stored(tmp_path, whole[: len(whole) // 2])
    assert message(decode_image, truncated).startswith(f"{truncated}: does not decode (")
    empty = stored(tmp_path, b"")
    assert message(decode_image, empty) == f"{empty}: has 0 bytes. Fetch it again."
    foreign = stored(tmp_path, b"some text")
    assert message(decode_image, foreign) == (
        f"{foreign}: is no JPEG, PNG, BMP, TIFF, WEBP image. Fetch it again if it should be, else take it out."
    )


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIC picture, which is not read. Export it as JPEG."),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF picture, which is not read. Export it as JPEG or PNG."),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a film, which is not read. Take it out."),
        (isic_folder.encoded(PIXELS, "GIF"), "a GIF picture, which is not read. Save it as PNG."),
        (bytes(128) + b"DICM", "a DICOM file, which is not read. Export its picture as PNG."),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript or PDF document, which is not read. Export its picture as PNG."),
        (b"<!DOCTYPE html>404", "a web page in place of the picture, which is not read. Fetch it again."),
        (b"PK\x03\x04", "a zip archive, which is not read. Extract it."),
        (
            b"\0\x05\x16\x07\0\x02",
            "macOS's note about a picture, which is not read. Take the file without ._ before its name.",
        ),
    ],
)
def test_what_is_taken_for_an_image_is_named_with_its_own_remedy(tmp_path, data, what):
    file = stored(tmp_path, data)
    assert message(decode_image, file) == f"{file}: is {what}"


def test_an_image_of_absurd_size_is_refused_before_it_is_decoded(tmp_path):
    png = bytearray(isic_folder.encoded(PIXELS, "PNG"))
    png[16:24] = (30000).to_bytes(4, "big") * 2
    png[29:33] = zlib.crc32(bytes(png[12:29])).to_bytes(4, "big")
    file = stored(tmp_path, bytes(png))
    assert message(decode_image, file) == (
        f"{file}: has 900 million pixels, and at most 89 million are decoded. "
        "Reduce it, or raise the limit: ARLREPRO_MAX_MEGAPIXELS=900."
    )


@pytest.mark.parametrize(("width", "height"), [(10_500, 10_000), (20_000, 10_000)])
def test_the_limit_in_pixels_is_raised_by_the_environment(tmp_path, monkeypatch, width, height):
    file = stored(tmp_path, saved(Image.new("1", (width, height)), "PNG"), "large.png")
    assert "Reduce it, or raise the limit" in message(decode_image, file)
    monkeypatch.setenv("ARLREPRO_MAX_MEGAPIXELS", str(width * height // 10**6))
    assert decode_mask(file).shape == (height, width)
    monkeypatch.setenv("ARLREPRO_MAX_MEGAPIXELS", "many")
    with pytest.raises(ConfigError, match="it must be a whole number of million pixels, such as 120"):
        decode_image(file)


@pytest.mark.parametrize("size", [(1, 80_000_000), (70_000, 2)])
def test_an_image_of_one_absurd_side_is_refused(tmp_path, size):
    file = stored(tmp_path, saved(Image.new("1", size), "PNG"), "strip.png")
    assert message(decode_image, file) == f"{file}: is {size[0]} x {size[1]} px. Cut it: no side above 65535 px."


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_pillow_only_warns_of_is_refused_too(tmp_path):
    file = stored(tmp_path, isic_folder.encoded(np.zeros((9000, 10000), dtype=bool), "PNG"))
    assert "has 90 million pixels, and at most 89 million are decoded" in message(decode_image, file)


def test_cut_or_altered_jpegs_decode_or_are_named_never_anything_else(tmp_path):
    whole, rng = isic_folder.encoded(PIXELS), np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        data[rng.integers(len(data))] = rng.integers(256)
        file = stored(tmp_path, bytes(data))
        try:
            assert decode_image(file, side=16).size == (16, 16)
        except DatasetError as error:
            assert str(error).startswith(str(file))


def test_an_image_of_the_wanted_side_stays_as_decoded(tmp_path):
    square = isic_folder.encoded(isic_folder.pixels(1, 32, 32))
    assert (decoded(tmp_path, square, side=32) == decoded(tmp_path, square)).all()


@pytest.mark.parametrize(("source", "largest"), [("lesion", 3), ("speckle", 25)])
def test_large_jpegs_reduced_while_decoding_differ_by_less_than_a_level_from_reducing_afterwards(
    tmp_path, source, largest
):
    speckle = np.random.default_rng(0).integers(0, 255, (250, 375, 3), dtype=np.uint8)  # harder than any photograph
    values = speckle if source == "speckle" else draw_lesion("melanoma", seed=3, side=512).image
    photograph = Image.fromarray(values).resize((1501, 1001), Image.Resampling.BICUBIC)
    data = saved(photograph, "JPEG", quality=90, subsampling=0)
    fast = decoded(tmp_path, data, side=120).astype(int)
    full = np.asarray(Image.open(io.BytesIO(data)).resize((120, 120), Image.Resampling.LANCZOS)).astype(int)
    assert 0 < np.abs(fast - full).mean() < 1
    assert np.abs(fast - full).max() <= largest


def test_shrinking_averages_and_does_not_skip_pixels(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    reduced = decoded(tmp_path, isic_folder.encoded(stripes, "PNG"), side=16)
    assert np.abs(reduced[4:12, 4:12].astype(int) - 100).max() <= 2


def test_a_mask_is_true_where_it_is_white(tmp_path):
    lesion = isic_folder.mask(1, 40, 24)
    for values in (lesion, lesion.astype(np.uint8) * 255, lesion.astype(np.uint16) * 65535):
        assert (decode_mask(stored(tmp_path, isic_folder.encoded(values, "PNG"), "m.png")) == lesion).all()


def test_a_reduced_mask_keeps_the_majority_of_each_area(tmp_path):
    lesion = np.zeros((4, 4), dtype=bool)
    lesion[0, :3] = lesion[1, 0] = True  # 3, 1, 0 and 0 of 4
    assert decode_mask(stored(tmp_path, isic_folder.encoded(lesion, "PNG"), "m.png"), side=2).tolist() == [
        [True, False],
        [False, False],
    ]
    enlarged = decode_mask(stored(tmp_path, isic_folder.encoded(lesion, "PNG"), "m.png"), side=8)
    assert (enlarged == np.kron(lesion, np.ones((2, 2), dtype=bool))).all()


def test_a_mask_of_zeros_and_ones_is_refused_not_read_as_empty(tmp_path):
    file = stored(tmp_path, isic_folder.encoded(isic_folder.mask(1).astype(np.uint8), "PNG"), "m.png")
    assert message(decode_mask, file) == (
        f"{file}: its brightest pixel is 1 of 255. Masks are black with white lesions."
    )
