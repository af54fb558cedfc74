"""The site as a reader meets it: built without a warning, whole, at home from file://, in order, light, on a phone too.

The site is built here, strictly, from the committed book; ARLREPRO_SITE names another one to look at.
"""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
STRICT = ROOT / "_build" / "strict"
FRONT = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())["root"] + ".html"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1300, "height": 900}


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the built site."""
    if elsewhere := os.environ.get("ARLREPRO_SITE"):
        return ROOT / elsewhere
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    command = [jupyter_book, "build", ROOT / "book", "-W", "-n", "--keep-going", "--all", "--path-output", STRICT]
    built = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = re.sub(r"\x1b\[[0-9;]*m", "", built.stdout)
    assert built.returncode == 0, "\n".join(line for line in log.splitlines() if "WARNING" in line) or log[-3000:]
    return STRICT / "_build" / "html"


@pytest.fixture(scope="module")
def pages(site) -> dict[str, BeautifulSoup]:
    """Every page that a reader comes to, by its path in the site."""
    files = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    return {
        str(path.relative_to(site)): BeautifulSoup(path.read_text(encoding="utf8"), "html.parser") for path in files
    }


@pytest.fixture(scope="module")
def articles(pages) -> dict[str, BeautifulSoup]:
    """The text of every page that was written, without the index, the search and the redirect to the front page."""
    written = {
        name: page.find("article") for name, page in pages.items() if name not in ("genindex.html", "search.html")
    }
    return {name: article for name, article in written.items() if article is not None}


def test_the_book_builds_without_a_warning(site):
    assert (site / "index.html").is_file()


def test_every_link_and_every_picture_leads_somewhere(site, pages):
    lost = []
    anchors = {name: {tag["id"] for tag in page.find_all(id=True)} for name, page in pages.items()}
    for name, page in pages.items():
        for tag in page.find_all(["a", "img", "script", "link", "iframe"]):
            target = urlsplit(tag.get("href") or tag.get("src") or "")
            if target.scheme or target.netloc or not (target.path or target.fragment):
                continue
            path = os.path.normpath(Path(name).parent / unquote(target.path)) if target.path else name
            if not (site / path).exists() or (
                target.fragment and unquote(target.fragment) not in anchors.get(path, ())
            ):
                lost.append(f"{name}: {target.geturl()}")
    assert lost == []


def test_nothing_is_loaded_from_another_host(pages):
    loaded = {
        tag.get("src") or tag.get("href")
        for page in pages.values()
        for tag in page.find_all(["img", "script", "iframe", "link", "video", "source"])
        if "canonical" not in tag.get("rel", [])
    }
    assert sorted(url for url in loaded if url and urlsplit(url).netloc) == []


def test_a_table_that_names_a_network_or_run_leads_to_its_files_and_command_in_two_clicks(site, pages):
    clicks = [
        (name, urlsplit(link["href"]))
        for name, page in pages.items()
        for link in page.select(
            "table.dataframe th > a[href*='_runs.html#'], table.dataframe td > a[href*='_runs.html#']"
        )
    ]
    assert {name for name, _ in clicks} >= {"isic2017-256/02_resnet_against_arl.html"}
    for name, target in clicks:
        place = pages[str(Path(name).parent / target.path)].find(id=target.fragment)
        run = place if place.name == "tbody" else place.find_parent("tbody")
        files = {Path(link["href"]).name for link in run.find_all("a")}
        assert {"config.yaml", "environment.json", "history.csv", "predictions.csv"} <= files, name
        assert "arlrepro train --profile" in run.text, name


def test_every_page_of_numbers_leads_to_the_runs_behind_them(articles):
    parts = {name: article.select_one("div.part a") for name, article in articles.items() if "/" in name}
    parts = {name: link for name, link in parts.items() if not name.startswith("reuse/")}
    assert parts
    assert {link and link["href"].partition("#")[0] for link in parts.values()} <= {"12_runs.html", ""}
    assert all(parts.values())


def test_headings_are_in_order(articles):
    for name, article in articles.items():
        levels = [int(heading.name[1]) for heading in article.find_all(re.compile(r"^h[1-6]$"))]
        assert levels[:1] == [1] and levels.count(1) == 1, f"{name} has one title, at its head: {levels}"
        assert all(after <= before + 1 for before, after in pairwise(levels)), f"{name}: {levels}"


def test_every_picture_says_in_words_what_it_shows(articles):
    silent = [
        f"{name}: {picture.get('src')}"
        for name, article in articles.items()
        for picture in article.find_all("img")
        if re.fullmatch(r"|.*\.(png|svg|jpe?g)", picture.get("alt", ""))
    ]
    assert silent == []


def test_every_figure_has_a_number_and_a_caption(articles):
    figures = [
        (name, figure)
        for name, article in articles.items()
        for figure in article.find_all("figure")
        if figure.find("img") and not figure.find_parent(class_=re.compile("knob|explorer"))
    ]
    assert len(figures) > 10
    for name, figure in figures:
        number, caption = figure.select_one(".caption-number"), figure.find("figcaption")
        assert number and re.match(r"Fig\. \d+", number.text), name
        assert len(caption.text) > 60, name


def test_no_two_pages_have_one_title(articles):
    titles = [article.find("h1").text for article in articles.values()]
    assert sorted(titles) == sorted(set(titles))


def test_no_table_is_empty(articles):
    bare = [name for name, article in articles.items() for table in article.select("table.dataframe") if not table.td]
    assert bare == []


def test_no_page_is_heavy(site, articles):
    for name, article in articles.items():
        sources = {tag["src"] for tag in article.select("img[src]:not([src^='data:'])")} - {""}
        pictures = {(site / name).parent / unquote(one) for one in sources}
        megabytes = sum(path.stat().st_size for path in [site / name, *pictures]) / 1e6
        assert megabytes < (1 if name == FRONT else 5), f"{name} weighs {megabytes:.1f} MB with its pictures"


@pytest.mark.browser
def test_every_page_works_from_disk_without_network_on_desk_and_phone(site, articles, browser):
    faults = []
    for viewport in (DESK, PHONE):
        page = browser.new_page(viewport=viewport, offline=True)
        page.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in articles:
            page.goto((site / name).as_uri(), wait_until="load")
            beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert faults == [], name
            assert beyond <= 0, f"{name} scrolls {beyond} px sideways at {viewport['width']} px"
        page.close()


@pytest.mark.browser
def test_the_front_page_answers_on_one_screen(site, browser):
    page = browser.new_page(viewport=DESK)
    page.goto((site / FRONT).as_uri())
    for what in ("div.abstract", "text=What the test set can show.", "text=What is not known."):
        answer = page.locator(f"article {what}" if what.startswith("div") else what).first.bounding_box()
        assert answer["y"] + answer["height"] <= DESK["height"], what
    links = page.locator("article p strong a").all_inner_texts()
    assert links == ["Read", "Run", "Reuse"]
    page.close()


@pytest.mark.browser
def test_the_threshold_is_turned_by_keyboard(site, browser):
    page = browser.new_page(viewport=DESK)
    if "threshold-knob" not in (site / Path(FRONT).with_name("13_threshold.html")).read_text(encoding="utf8"):
        pytest.skip("no run of the leading profile is archived yet: there is no slider")
    page.goto((site / Path(FRONT).with_name("13_threshold.html")).as_uri())
    dot, count = page.locator("#threshold circle").first, page.locator("#threshold td").first
    before = dot.get_attribute("cx"), int(count.inner_text())
    page.focus("#threshold-knob")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#threshold-shown").inner_text() == "0.30"
    assert int(count.inner_text()) >= before[1]
    page.keyboard.press("Home")
    assert count.inner_text() == "117", "at threshold 0 all of the test set's melanomas are found"
    assert float(dot.get_attribute("cx")) > float(before[0])
    page.close()


@pytest.mark.browser
def test_a_patch_shows_more_of_the_lesion_at_a_larger_scale(site, browser):
    page = browser.new_page(viewport=DESK)
    page.goto((site / Path(FRONT).with_name("01_data.html")).as_uri())
    box, seen = page.locator("#scale-box"), page.locator("#scale-seen")
    before = float(box.get_attribute("width")), seen.get_attribute("src")
    page.focus("#scale-knob")
    page.keyboard.press("End")
    assert float(box.get_attribute("width")) > before[0]
    assert seen.get_attribute("src") != before[1]
    page.close()


@pytest.mark.browser
def test_a_pointer_over_a_figure_shows_the_value_of_the_point_below_it(site, browser):
    page = browser.new_page(viewport=DESK, offline=True)
    page.goto((site / FRONT).as_uri())
    image = page.locator("article figure img").first
    image.scroll_into_view_if_needed()
    box, shown = image.bounding_box(), page.locator(".figure-value")
    assert not shown.is_visible()
    lines = page.evaluate("JSON.parse(document.querySelector('script.figure-points').textContent)")
    published = next(line for line in lines if line["of"] == "published, mean AUC")
    (left, top, value, _), *_ = published["at"]
    page.mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
    assert shown.inner_text() == f"published, mean AUC: difference of test AUCs {value:g}"
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    assert not shown.is_visible()
    page.close()


#: Contrast of each text with what lies behind it, where that has one colour; after WCAG, of the text's own size.
FAINT = """() => {
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = rgb => rgb.slice(0, 3).map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const numbers = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = numbers(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const node of document.querySelectorAll("article p, article th, article td, article li, article a, article h1, "
      + "article h2, article h3, article h4, article figcaption, article label")) {
    if (!node.innerText.trim()) continue;
    const [a, b] = [light(numbers(getComputedStyle(node).color)), light(ground(node))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${node.tagName} ${node.innerText.slice(0, 40)}: ${contrast.toFixed(1)}`);
  }
  return faint;
}"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(site, articles, browser, scheme):
    page = browser.new_page(color_scheme=scheme)
    faint = {}
    for name in articles:
        page.goto((site / name).as_uri())
        faint[name] = page.evaluate(FAINT)
    page.close()
    assert {name: texts for name, texts in faint.items() if texts} == {}


@pytest.mark.browser
def test_the_first_key_press_offers_to_skip_to_the_text(site, browser):
    page = browser.new_page()
    page.goto((site / FRONT).as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to main content"
    page.close()
