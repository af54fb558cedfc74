"""Any image decodes right or is named with its remedy."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arlrepro.data.files.images import decode_image, decode_mask
from arlrepro.data.files.stored import StoredFile
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.errors import ConfigError, DatasetError
from helpers import isic_folder
from helpers.cases import case
from helpers.stored_files import message, stored

PIXELS = isic_folder.pixels(1, 40, 24)


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(folder: Path, data: bytes, **options) -> np.ndarray:
    return np.asarray(decode_image(stored(folder, data), **options))


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
