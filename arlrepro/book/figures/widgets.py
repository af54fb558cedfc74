"""Interactive HTML for the book: an explorer of maps over lesions, and sliders for a threshold and for a patch's scale.

All of it is in the page: pictures as data URIs, a few lines of JavaScript, nothing loaded from elsewhere. It works from
disk, offline, by keyboard; without scripts a slider leaves a still picture.
"""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageFilter

from arlrepro import registry
from arlrepro.attention.overlay import heat, spread
from arlrepro.book.export import NOTHING
from arlrepro.book.figures.attention import map_of, maps_of_runs, seed_shown
from arlrepro.book.figures.style import Plane, enlarge, image_uri, jpeg_uri
from arlrepro.registry import CLASSES, COLOURS
from arlrepro.runs.study import Study, present, scored, shared_runs

PAGE = Path(__file__).with_suffix(".html")
PHOTO_PX, MAP_PX = 256, 64  # side of a picture in the page; the browser enlarges
#: Thirds of the image, for the words on where a map is highest.
ROWS, SIDES = ("top", "middle", "bottom"), ("left", "centre", "right")

STEPS = 100  # of the threshold, from 0 to 1
SIDE = 240  # of a plot, in the units of its own drawing
PATCH_SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def explore(
    lesions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    maps: Mapping[str, pd.DataFrame],
    name: str,
    kinds: Mapping[str, str] | None = None,
) -> HTML:
    """The explorer, for a cell to return.

    Args:
        lesions: by id, image and lesion mask.
        maps: by network, a table as `cam.maps_of` gives it.
        name: told apart from other explorers of a page by it: letters, digits and hyphens.
        kinds: of the lesions, by id; if not given, the id says it.
    """
    return HTML(page(lesions, maps, name, kinds))


def explore_study(lesions: Mapping[str, tuple[np.ndarray, np.ndarray]], study: Study) -> HTML:
    """`explore` for the archived maps of one seed's runs, see `attention.seed_shown`; without runs, a word on it."""
    maps = maps_of_runs(study, seed_shown(study))
    if not maps:
        return HTML(f"<p>{NOTHING}s yet.</p>")
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
            "photo": image_uri(
                Image.fromarray(image).resize((PHOTO_PX, PHOTO_PX), Image.Resampling.LANCZOS), "JPEG", quality=85
            ),
            "outline": image_uri(outline(mask), "PNG", transparency=0),
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
                title = f"{map_name(which)} of {registry.network(network)}"
                entry["lesions"][one] = {
                    "picture": image_uri(_coloured(values), "PNG"),
                    "text": f"{title} over {called[one]}: {describe(values, mask)}",
                }
        networks[network] = {"label": registry.network(network), "maps": of_network}
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
        return f"class activation, {registry.TASK_WORDS[name]}"
    if name.startswith("grad_cam."):
        return f"Grad-CAM, stage {name.removeprefix('grad_cam.layer')}"
    return f"attention mask, {registry.block(name)}"


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


def _called(image_id: str) -> str:
    """A synthetic lesion in words, from its id `<kind>-<seed>`."""
    kind, _, seed = image_id.rpartition("-")
    return f"synthetic {kind.replace('_', ' ')} {seed}"


def counts_by_threshold(
    truth: Bool[np.ndarray, " lesions"], scores: Float[np.ndarray, " lesions"]
) -> tuple[list[int], list[int]]:
    """How many of the diseased, and of the others, score above each threshold 0, 0.01, ..., 1.

    Example:
        >>> found, alarms = counts_by_threshold(np.array([True, False]), np.array([0.6, 0.5]))
        >>> found[49:61], alarms[49:51]
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], [1, 0])
    """
    above = scores[None] > np.arange(STEPS + 1)[:, None] / STEPS
    return (above & truth).sum(axis=1).tolist(), (above & ~truth).sum(axis=1).tolist()


def threshold(study: Study, start: float = 0.5) -> HTML:
    """Where a threshold puts each network on its ROC curve, and what that means in lesions, by the mean of its seeds.

    Args:
        study: runs of which the test scores are drawn.
        start: the threshold of the still, in [0, 1].
    """
    at = round(start * STEPS)
    drawn: dict[str, Any] = {}
    plots = []
    for task in CLASSES:
        networks = {}
        for network in present(study):
            truth, scores = scored(shared_runs(study, [network], [task]), [task])
            found, alarms = counts_by_threshold(truth[0], scores[network][:, 0].mean(axis=0))
            networks[network] = {"found": found, "alarms": alarms, "name": registry.network(network)}
            positives, negatives = int(truth[0].sum()), int((~truth[0]).sum())
        if networks:
            drawn[task] = {"positives": positives, "negatives": negatives, "networks": networks}
            plots.append(_roc_plot(task, drawn[task], at))
    if not plots:
        return HTML(f"<p>{NOTHING}s yet.</p>")
    script = _THRESHOLD_SCRIPT.replace("DATA", json.dumps(drawn, separators=(",", ":"))).replace("SIDE", str(SIDE))
    knob = _knob("threshold", "Threshold", 0, STEPS, at, f"{start:.2f}")
    return HTML(f'<div class="knob" id="threshold">{knob}<div class="plots">{"".join(plots)}</div></div>{script}')


def _knob(name: str, label: str, low: int, high: int, value: int, shown: str) -> str:
    return (
        f'<p><label for="{name}-knob">{label}</label> '
        f'<input type="range" id="{name}-knob" min="{low}" max="{high}" value="{value}"> '
        f'<output id="{name}-shown" for="{name}-knob">{shown}</output></p>'
    )


def _roc_plot(task: str, drawn: Mapping[str, Any], at: int) -> str:
    lines, rows = [], []
    for network, one in drawn["networks"].items():
        rates = [
            (round(alarms / drawn["negatives"] * SIDE, 1), round(SIDE - found / drawn["positives"] * SIDE, 1))
            for found, alarms in zip(one["found"], one["alarms"], strict=True)
        ]
        path = " ".join(f"{x},{y}" for x, y in rates)
        x, y = rates[at]
        lines.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[network]}" stroke-width="2"/>')
        lines.append(
            f'<circle id="{task}-{network}" cx="{x}" cy="{y}" r="6" fill="{COLOURS[network]}" stroke="currentColor"/>'
        )
        rows.append(
            f'<tr><th><span class="key" style="background:{COLOURS[network]}"></span>{one["name"]}</th>'
            f'<td id="{task}-{network}-found">{one["found"][at]}</td>'
            f'<td id="{task}-{network}-alarms">{one["alarms"][at]}</td></tr>'
        )
    return (
        f"<figure><figcaption>{registry.TASK_WORDS[task]}</figcaption>"
        f'<svg viewBox="-26 -8 {SIDE + 34} {SIDE + 34}" role="img" '
        f'aria-label="ROC curves for {registry.TASK_WORDS[task]}, a point on each at the threshold">'
        f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="currentColor" opacity="0.4"/>'
        f'<line x1="0" y1="{SIDE}" x2="{SIDE}" y2="0" stroke="currentColor" opacity="0.4" stroke-dasharray="2 4"/>'
        f'{"".join(lines)}<text x="{SIDE / 2}" y="{SIDE + 20}" text-anchor="middle" fill="currentColor" font-size="12">'
        f'false-positive rate</text><text transform="translate(-10 {SIDE / 2}) rotate(-90)" text-anchor="middle" '
        'fill="currentColor" font-size="12">sensitivity</text></svg>'
        f"<table><tr><th></th><th>true positives of {drawn['positives']}</th>"
        f"<th>false positives of {drawn['negatives']}</th></tr>"
        f"{''.join(rows)}</table></figure>"
    )


_THRESHOLD_SCRIPT = """<script>
(() => {
  const tasks = DATA, at = id => document.getElementById(id), knob = at("threshold-knob");
  knob.addEventListener("input", () => {
    const step = Number(knob.value);
    at("threshold-shown").textContent = (step / knob.max).toFixed(2);
    for (const [task, drawn] of Object.entries(tasks))
      for (const [network, one] of Object.entries(drawn.networks)) {
        const found = one.found[step], alarms = one.alarms[step], dot = at(`${task}-${network}`);
        dot.setAttribute("cx", alarms / drawn.negatives * SIDE);
        dot.setAttribute("cy", SIDE - found / drawn.positives * SIDE);
        at(`${task}-${network}-found`).textContent = found;
        at(`${task}-${network}-alarms`).textContent = alarms;
      }
  });
})();
</script>"""


def patch_scale(image: UInt8[np.ndarray, "side side 3"], side: int, start: float = 0.4) -> HTML:
    """What a network sees of a lesion at each scale of a patch in the middle, and where that patch lies.

    Args:
        image: the lesion.
        side: of a patch as the network sees it, px.
        start: the scale of the still; one of `PATCH_SCALES`.
    """
    picture, whole = Image.fromarray(image), len(image)
    seen = []
    for scale in PATCH_SCALES:
        edge = (1 - scale) / 2 * whole
        box = (edge, edge, whole - edge, whole - edge)
        seen.append(jpeg_uri(picture.resize((side, side), Image.Resampling.BILINEAR, box=box)))
    at = PATCH_SCALES.index(start)
    edge, width = (1 - start) / 2 * SIDE, start * SIDE
    knob = _knob("scale", "Scale", 0, len(PATCH_SCALES) - 1, at, f"{start:.0%} of the side")
    script = _SCALE_SCRIPT.replace("SEEN", json.dumps(seen)).replace("SCALES", json.dumps(PATCH_SCALES))
    return HTML(
        f'<div class="knob" id="scale">{knob}<div class="plots"><figure><figcaption>where it lies</figcaption>'
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="The whole lesion with the box of a patch">'
        f'<image href="{jpeg_uri(picture)}" width="{SIDE}" height="{SIDE}"/>'
        f'<rect id="scale-box" x="{edge:g}" y="{edge:g}" width="{width:g}" height="{width:g}" fill="none" '
        'stroke="white" stroke-width="3"/></svg></figure>'
        f"<figure><figcaption>the patch, {side} x {side} px</figcaption>"
        f'<img id="scale-seen" src="{seen[at]}" alt="The patch, resized to the side that the network sees"/>'
        f"</figure></div></div>{script.replace('SIDE', str(SIDE))}"
    )


_SCALE_SCRIPT = """<script>
(() => {
  const seen = SEEN, scales = SCALES, at = id => document.getElementById(id), knob = at("scale-knob");
  knob.addEventListener("input", () => {
    const scale = scales[knob.value], box = at("scale-box");
    at("scale-shown").textContent = `${Math.round(100 * scale)}% of the side`;
    at("scale-seen").src = seen[knob.value];
    for (const name of ["x", "y"]) box.setAttribute(name, (1 - scale) / 2 * SIDE);
    for (const name of ["width", "height"]) box.setAttribute(name, scale * SIDE);
  });
})();
</script>"""
