"""Pictures with a knob: HTML with a range input that works from disk, offline, by keyboard; without scripts, a still.

Each returns what a notebook shows: the still is drawn here, and a few lines of script redraw it from numbers in it.
"""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from IPython.display import HTML
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from arlrepro import pairing, words
from arlrepro.archive import Study
from arlrepro.config import CLASSES
from arlrepro.figures import COLOURS, present

STEPS = 100  # of the threshold, from 0 to 1
SIDE = 240  # of a plot, in the units of its own drawing
PATCH_SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


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
    """Where a threshold puts each network on its ROC curve, and what it means in lesions; the first seed of each.

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
            truth, scores = pairing.scored(pairing.shared_runs(study, [network], [task]), [task])
            found, alarms = counts_by_threshold(truth[0], scores[network][0, 0])
            networks[network] = {"found": found, "alarms": alarms, "name": words.network(network)}
            positives, negatives = int(truth[0].sum()), int((~truth[0]).sum())
        if networks:
            drawn[task] = {"positives": positives, "negatives": negatives, "networks": networks}
            plots.append(_roc_plot(task, drawn[task], at))
    if not plots:
        return HTML("<p>No run is there yet.</p>")
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
        f'<figure><figcaption>{words.TASKS[task]}</figcaption><svg viewBox="-8 -8 {SIDE + 16} {SIDE + 34}" role="img" '
        f'aria-label="ROC curves for {words.TASKS[task]}, a point on each at the threshold">'
        f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="currentColor" opacity="0.4"/>'
        f'<line x1="0" y1="{SIDE}" x2="{SIDE}" y2="0" stroke="currentColor" opacity="0.4" stroke-dasharray="2 4"/>'
        f'{"".join(lines)}<text x="{SIDE / 2}" y="{SIDE + 20}" text-anchor="middle" fill="currentColor" font-size="12">'
        "false alarms → (up: found)</text></svg>"
        f"<table><tr><th></th><th>found of {drawn['positives']}</th><th>false alarms of {drawn['negatives']}</th></tr>"
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
        seen.append(_data_uri(picture.resize((side, side), Image.Resampling.BILINEAR, box=box)))
    at = PATCH_SCALES.index(start)
    edge, width = (1 - start) / 2 * SIDE, start * SIDE
    knob = _knob("scale", "Scale", 0, len(PATCH_SCALES) - 1, at, f"{start:.0%} of the side")
    script = _SCALE_SCRIPT.replace("SEEN", json.dumps(seen)).replace("SCALES", json.dumps(PATCH_SCALES))
    return HTML(
        f'<div class="knob" id="scale">{knob}<div class="plots"><figure><figcaption>where it lies</figcaption>'
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="The whole lesion with the box of a patch">'
        f'<image href="{_data_uri(picture)}" width="{SIDE}" height="{SIDE}"/>'
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


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
