"""The site as a reader meets it: built without a warning, whole, at home from file://, in order, light, on a phone too.

The site is built here, strictly, from the committed book; ARLREPRO_SITE names another one to look at.
"""

import os
import re
import shutil
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
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, or none and a word."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH: on Debian, apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


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


def test_no_page_is_heavy(site, articles):
    for name, article in articles.items():
        pictures = {(site / name).parent / unquote(tag["src"]) for tag in article.find_all("img")}
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
def test_the_first_key_press_offers_to_skip_to_the_text(site, browser):
    page = browser.new_page()
    page.goto((site / FRONT).as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to main content"
    page.close()
