// The value under the pointer, over a figure whose points stand below it as JSON (arlrepro/book/export.py).
document.addEventListener("DOMContentLoaded", () => {
  const shown = document.createElement("div");
  shown.className = "figure-value";
  shown.hidden = true;
  document.body.append(shown);
  const reach = 20; // px from the pointer to a point

  for (const data of document.querySelectorAll("script.figure-points")) {
    const before = [...document.querySelectorAll("article figure img")].filter(
      (image) => image.compareDocumentPosition(data) & Node.DOCUMENT_POSITION_FOLLOWING,
    );
    const image = before.pop();
    if (!image) continue;
    const lines = JSON.parse(data.textContent);
    const look = (event) => {
      const box = image.getBoundingClientRect();
      const style = getComputedStyle(image);
      const [left, top, right, bottom] = ["Left", "Top", "Right", "Bottom"].map((side) => parseFloat(style["padding" + side]));
      const [width, height] = [box.width - left - right, box.height - top - bottom];
      const [x, y] = [event.clientX - box.left - left, event.clientY - box.top - top];
      let nearest = { far: reach };
      for (const line of lines)
        for (const point of line.at) {
          const far = Math.hypot(point[0] * width - x, point[1] * height - y);
          if (far < nearest.far) nearest = { far, line, point };
        }
      shown.hidden = !nearest.line;
      if (shown.hidden) return;
      const { line, point } = nearest;
      const values = [[line.x, point[2]], [line.y, point[3]]].filter(([name]) => name !== null);
      const said = values.map(([name, value]) => `${name} ${value}`.trim()).join(", ");
      shown.textContent = [line.of, said].filter(Boolean).join(": ");
      shown.style.left = `${Math.min(event.pageX + 12, document.documentElement.clientWidth - shown.offsetWidth - 4)}px`;
      shown.style.top = `${event.pageY + 14}px`;
    };
    image.addEventListener("pointermove", look);
    image.addEventListener("pointerdown", look);
    image.addEventListener("pointerleave", () => (shown.hidden = true));
  }
});
