"""An explorer for the book: a lesion, a network and a map are picked, and a slider fades the map over the image.

All of it is in the page: pictures as data URIs, a few lines of JavaScript, nothing loaded from elsewhere.
"""

import base64
import html
import io
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import Image, ImageFilter

from arlrepro import words
from arlrepro.archive import Study
from arlrepro.config import CLASSES
from arlrepro.heat import heat, spread
from arlrepro.pictures import Plane, enlarge, map_of, maps_of_runs, seed_shown

if TYPE_CHECKING:
    from IPython.display import HTML

PAGE = Path(__file__).with_suffix(".html")
PHOTO_PX, MAP_PX = 256, 64  # side of a picture in the page; the browser enlarges
#: Thirds of the image, for the words on where a map is highest.
ROWS, SIDES = ("top", "middle", "bottom"), ("left", "centre", "right")


def explore(
    lesions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    maps: Mapping[str, pd.DataFrame],
    name: str,
    kinds: Mapping[str, str] | None = None,
) -> "HTML":
    """The explorer, for a cell to return.

    Args:
        lesions: by id, image and lesion mask.
        maps: by network, a table as `maps.maps_of` gives it.
        name: told apart from other explorers of a page by it: letters, digits and hyphens.
        kinds: of the lesions, by id; if not given, the id says it.
    """
    from IPython.display import HTML

    return HTML(page(lesions, maps, name, kinds))


def explore_study(lesions: Mapping[str, tuple[np.ndarray, np.ndarray]], study: Study) -> "HTML":
    """`explore` for the archived maps of one seed's runs, see `pictures.seed_shown`; without runs, a word on it."""
    from IPython.display import HTML

    maps = maps_of_runs(study, seed_shown(study))
    if not maps:
        return HTML(f"<p>No run is in the archive of {study.profile.name} yet.</p>")
    return explore(lesions, maps, study.profile.name)


def page(
    lesions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    maps: Mapping[str, pd.DataFrame],
    name: str,
    kinds: Mapping[str, str] | None = None,
) -> str:
    """The HTML of `explore`: works from a file, without a network, by keyboard, and shows one map without scripts."""
    called = {one: f"{kinds[one].replace('_', ' ')}, {one}" if kinds else _called(one) for one in lesions}
    shown = {
        one: {
            "label": called[one],
            "text": f"The lesion: {called[one]}.",
            "photo": _uri(
                Image.fromarray(image).resize((PHOTO_PX, PHOTO_PX), Image.Resampling.LANCZOS), "JPEG", quality=85
            ),
            "outline": _uri(outline(mask), "PNG", transparency=0),
        }
        for one, (image, mask) in lesions.items()
    }
    networks: dict[str, Any] = {}
    for network, table in maps.items():
        of_network: dict[str, Any] = {
            which: {"label": map_name(which), "lesions": {}} for which in dict.fromkeys(table["map"].astype(str))
        }
        for which, entry in of_network.items():
            for one, (_, mask) in lesions.items():
                values = map_of(table, one, which)
                title = f"{map_name(which)} of {words.network(network)}"
                entry["lesions"][one] = {
                    "picture": _uri(_coloured(values), "PNG"),
                    "text": f"{title} over {called[one]}: {describe(values, mask)}",
                }
        networks[network] = {"label": words.network(network), "maps": of_network}
    lesion = next(iter(shown))
    first = next(iter(next(iter(networks.values()))["maps"].values()))["lesions"][lesion]
    return Template(PAGE.read_text(encoding="utf8")).substitute(
        id=f"explorer-{name}",
        data=json.dumps({"lesions": shown, "networks": networks}).replace("</", "<\\/"),
        photo=shown[lesion]["photo"],
        photo_text=html.escape(shown[lesion]["text"]),
        outline=shown[lesion]["outline"],
        map=first["picture"],
        map_text=html.escape(first["text"]),
    )


def map_name(name: str) -> str:
    """A map of `maps.csv` in words.

    Example:
        >>> map_name("melanoma"), map_name("layer3.0"), map_name("grad_cam.layer2")
        ('class activation, melanoma', 'attention mask, stage 3, block 1', 'Grad-CAM, stage 2')
    """
    if name in CLASSES:
        return f"class activation, {words.TASKS[name]}"
    if name.startswith("grad_cam."):
        return f"Grad-CAM, stage {name.removeprefix('grad_cam.layer')}"
    return f"attention mask, {words.block(name)}"


def describe(values: Plane, mask: Bool[np.ndarray, "side side"]) -> str:
    """What there is to see in a map, for those who do not see it.

    Example:
        >>> inside = np.array([[True, False], [False, False]])
        >>> describe(np.array([[2.0, 1.0], [1.0, 1.0]]), inside)
        'highest at the top left; 100 % of it lies inside the outline, which is 25 % of the image.'
    """
    lifted = enlarge(values - values.min(), len(mask))
    if not lifted.any():
        return "the same everywhere."
    row, column = np.unravel_index(lifted.argmax(), lifted.shape)
    where = f"{ROWS[3 * row // len(mask)]} {SIDES[3 * column // len(mask)]}"
    inside = (lifted * mask).sum() / lifted.sum()
    return (
        f"highest at the {where}; {100 * inside:.0f} % of it lies inside the outline, "
        f"which is {100 * mask.mean():.0f} % of the image."
    )


def outline(mask: Bool[np.ndarray, "side side"]) -> Image.Image:
    """The outline of a mask, white beside black, the rest transparent."""
    whole = Image.fromarray(mask).resize((PHOTO_PX, PHOTO_PX)).convert("L")
    wide, narrow = (np.asarray(whole.filter(ImageFilter.MaxFilter(size))) > 0 for size in (5, 3))
    inner = np.asarray(whole) > 0
    levels = np.zeros((PHOTO_PX, PHOTO_PX), dtype=np.uint8)  # 0 clear, 1 white, 2 black
    levels[wide & ~narrow], levels[narrow & ~inner] = 2, 1
    drawn = Image.fromarray(levels)
    drawn.putpalette([0, 0, 0, 255, 255, 255, 0, 0, 0])
    return drawn


def _coloured(values: Plane) -> Image.Image:
    """A map in colours, from its lowest value to its highest."""
    levels = (255 * spread(enlarge(values, MAP_PX))).round().astype(np.uint8)
    drawn = Image.fromarray(levels)
    drawn.putpalette(heat(np.linspace(0, 1, 256)[None]).tobytes())
    return drawn


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    stored = io.BytesIO()
    picture.save(stored, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stored.getvalue()).decode()}"


def _called(image_id: str) -> str:
    """A drawn lesion in words, from its id `<kind>-<seed>`."""
    kind, _, seed = image_id.rpartition("-")
    return f"drawn {kind.replace('_', ' ')} {seed}"
