"""The attention residual block as a drawing: the SVG of the method page, written from a few boxes and arrows."""

from pathlib import Path

from arlrepro.paths import root

#: Where the page finds it, under the root; a test holds the file to this module.
DIAGRAM = Path("book") / "_static" / "arl_block.svg"

INK, ARL = "#4d4d4d", "#D55E00"
#: Boxes by their middle: words, half their width, and whether ResNet lacks them.
BOXES = {
    (230, 100): ("F: 1×1, 3×3, 1×1 convolutions", 118, False),
    (440, 180): ("softmax over positions", 90, True),
    (620, 180): ("α · M ⊙ x", 62, True),
    (720, 100): ("+", 16, False),
    (800, 100): ("ReLU", 34, False),
}
#: Paths of the arrows, and whether ResNet lacks them.
ARROWS = (
    ("M40,100 H108", False),
    ("M350,100 H700", False),
    ("M70,100 V30 H720 V80", False),
    ("M440,100 V158", True),
    ("M532,180 H554", True),
    ("M70,100 V240 H620 V206", True),
    ("M684,180 H720 V120", True),
    ("M738,100 H762", False),
    ("M836,100 H880", False),
)
LABELS = {
    (26, 105): ("x", False),
    (894, 105): ("y", False),
    (400, 22): ("shortcut: x", False),
    (520, 92): ("F(x)", False),
    (543, 170): ("M", True),
    (330, 258): ("x", True),
}


def arl_block() -> str:
    """The drawing as SVG: what ResNet has is grey, what the attention adds is orange and dashed."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 275" font-family="sans-serif" font-size="15">',
        '<rect width="920" height="275" fill="#ffffff"/>',
    ]
    for colour, name in ((INK, "plain"), (ARL, "added")):
        parts.append(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L10,5 L0,10 z" fill="{colour}"/></marker>'
        )
    for path, added in ARROWS:
        line = f'stroke="{ARL}" stroke-dasharray="6 3" marker-end="url(#added)"'
        line = line if added else f'stroke="{INK}" marker-end="url(#plain)"'
        parts.append(f'<path d="{path}" fill="none" stroke-width="1.8" {line}/>')
    for (x, y), (words, half, added) in BOXES.items():
        parts.append(
            f'<rect x="{x - half}" y="{y - 20}" width="{2 * half}" height="40" rx="6" fill="#ffffff" '
            f'stroke="{ARL if added else INK}" stroke-width="1.8"/>'
        )
        parts.append(f'<text x="{x}" y="{y + 5}" text-anchor="middle" fill="{INK}">{words}</text>')
    for (x, y), (words, added) in LABELS.items():
        parts.append(f'<text x="{x}" y="{y}" text-anchor="middle" fill="{ARL if added else INK}">{words}</text>')
    return "\n".join([*parts, "</svg>", ""])


def write() -> Path:
    """Write the drawing where the method page finds it."""
    path = root() / DIAGRAM
    path.write_text(arl_block(), encoding="utf8")
    return path
