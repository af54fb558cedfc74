"""Pixels in the bytes of a file, whatever its format, depth or colour model; what does not decode is named."""

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Bool
from PIL import ExifTags, Image, ImageOps

from arlrepro.data.files.stored import StoredFile
from arlrepro.errors import ConfigError, DatasetError, printable

#: Pillow is asked for these formats only: some others (PostScript) run other programs.
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
MAX_MEGAPIXELS = "ARLREPRO_MAX_MEGAPIXELS"  # environment variable: the largest picture that is decoded
LONGEST_SIDE = 65_535  # px, JPEG's own limit

#: How files begin that are taken for images, and are none: what they are, and what to do with them.
_FOREIGN_BYTES = (
    (rb".{4}ftyp(heic|heix|heim|heis|hevc|mif1|msf1)", "a HEIC picture", "Export it as JPEG."),
    (rb".{4}ftypavi[fs]", "an AVIF picture", "Export it as JPEG or PNG."),
    (rb".{4}ftyp", "a film", "Take it out."),
    (rb"GIF8", "a GIF picture", "Save it as PNG."),
    (rb"8BPS", "a Photoshop file", "Export it as PNG."),
    (rb"(\xff\x0a|\x00{3}\x0cJXL )", "a JPEG XL picture", "Export it as JPEG or PNG."),
    (rb"\x00{3}\x0cjP  ", "a JPEG 2000 picture", "Export it as PNG."),
    (rb".{128}DICM", "a DICOM file", "Export its picture as PNG."),
    (rb"%(!PS|PDF)", "a PostScript or PDF document", "Export its picture as PNG."),
    (rb"\s*(<!doctype html|<html)", "a web page in place of the picture", "Fetch it again."),
    (rb"\s*<(\?xml|svg)", "an SVG or XML document", "Export its picture as PNG."),
    (rb"PK\x03\x04", "a zip archive", "Extract it."),
    (
        rb"\x00\x05\x16\x07",
        "macOS's note about a picture",
        "Take the file without ._ before its name.",
    ),
    (rb"version https://git-lfs", "a pointer of Git LFS", "Run `git lfs pull` where it came from."),
)

_IS_WHITE = [255 * (grey >= 128) for grey in range(256)]
#: Pixels of one image, as Pillow warns of: beyond it a small file may unpack without end.
MOST_PIXELS = 89_478_485


def decode_image(file: StoredFile, side: int | None = None) -> Image.Image:
    """Decode an image to upright RGB, whatever its format, depth or colour model.

    Args:
        file: JPEG, PNG, BMP, TIFF or WebP, told by content, not by suffix. Colour profiles are not applied.
        side: if given, side x side pixels (px) by an anti-aliasing Lanczos filter; an image of that size stays as it
            is. A large JPEG is then decoded at 1/2, 1/4 or 1/8 of its size, never below twice the side, which changes
            synthetic images of up to 6748 x 4499 by less than 0.3 of 255 levels on average and by 3 at most.

    Raises:
        DatasetError: empty, truncated or damaged, no such image, with a side of more than 65,535 px, or of more than
            89 million pixels (or as many million as the environment variable ARLREPRO_MAX_MEGAPIXELS says).
    """
    with _decoding(file) as image:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        drafted = image.draft(image.mode, (2 * side, 2 * side)) if side is not None and orientation == 1 else None
        image = _eight_bit(file, ImageOps.exif_transpose(image)).convert("RGB")
        if side is not None and image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.LANCZOS, box=drafted[1] if drafted else None)
        return image


def decode_mask(file: StoredFile, side: int | None = None) -> Bool[np.ndarray, "height width"]:
    """Decode a lesion mask: True where the pixel, or with `side` its area of the mask, is at least half white.

    Raises:
        DatasetError: it does not decode, or nothing in it but black reaches half of white (a mask of 0 and 1).
    """
    with _decoding(file) as image:
        grey = _eight_bit(file, ImageOps.exif_transpose(image)).convert("L")
    brightest = int(np.asarray(grey).max())
    if 0 < brightest < 128:
        raise DatasetError(f"{file}: its brightest pixel is {brightest} of 255. Masks are black with white lesions.")
    if side is not None:
        grey = grey.point(_IS_WHITE).resize((side, side), Image.Resampling.BOX)
    return np.asarray(grey) >= 128


@contextmanager
def _decoding(file: StoredFile) -> Iterator[Image.Image]:
    """Open an image, and turn whatever goes wrong with it into one line that names the file."""
    data, limit = file.read(), _pixel_limit()
    if not data:
        raise DatasetError(f"{file}: has 0 bytes. Fetch it again.")
    if limit > MOST_PIXELS:  # only where a person asked for it: it is the limit of the whole process
        Image.MAX_IMAGE_PIXELS = limit
    try:
        image = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        if max(image.size) > LONGEST_SIDE:
            raise DatasetError(
                f"{file}: is {image.width} x {image.height} px. Cut it: no side above {LONGEST_SIDE} px."
            )
        if image.width * image.height > limit:
            raise Image.DecompressionBombError(f"({image.width * image.height} pixels)")
        yield image
    except DatasetError:
        raise
    except Image.UnidentifiedImageError as error:
        for start, what, to_do in _FOREIGN_BYTES:
            if re.match(start, data[:200], re.DOTALL | re.IGNORECASE):
                raise DatasetError(f"{file}: is {what}, which is not read. {to_do}") from error
        known = ", ".join(IMAGE_FORMATS)
        raise DatasetError(f"{file}: is no {known} image. Fetch it again if it should be, else take it out.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        [pixels] = re.findall(r"\((\d+) pixels\)", str(error))
        raise DatasetError(
            f"{file}: has {int(pixels) / 1e6:.0f} million pixels, and at most {limit / 1e6:.0f} million are decoded. "
            f"Reduce it, or raise the limit: {MAX_MEGAPIXELS}={math.ceil(int(pixels) / 1e6)}."
        ) from error
    except MemoryError as error:
        raise DatasetError(f"{file}: there is not the memory to decode it. Reduce it.") from error
    except Exception as error:  # Pillow's decoders raise nearly every kind on damaged bytes
        raise DatasetError(f"{file}: does not decode ({printable(str(error))}). Fetch it again.") from error


def _pixel_limit() -> int:
    """How many pixels a picture may have: `MOST_PIXELS`, or what the environment says.

    Raises:
        ConfigError: the environment says no number.
    """
    said = os.environ.get(MAX_MEGAPIXELS, "")
    if not said:
        return MOST_PIXELS
    if not re.fullmatch(r"[1-9]\d{0,5}", said):
        raise ConfigError(f"{MAX_MEGAPIXELS} is {said!r}; it must be a whole number of million pixels, such as 120")
    return 10**6 * int(said)


def _eight_bit(file: StoredFile, image: Image.Image) -> Image.Image:
    """The same picture with 8 bits a channel: Pillow's own conversion clips in place of scaling."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DatasetError(f"{file}: {image.mode!r} pixels have no known range. Save it with 8 bits a channel.")
    return image.convert("RGBA") if image.mode == "P" else image
