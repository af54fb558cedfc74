"""The explorer as a reader uses it: choices by keyboard, a picture that changes, words that change with it."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arlrepro.book.figures import attention, widgets
from arlrepro.data.synthetic.dataset import draw_lesion
from arlrepro.profiles import ISIC2017_256
from arlrepro.runs.study import Study
from helpers.made_runs import made_study

STUDY = made_study({"resnet14": 0.1, "arl_cnn14": 0.3}, seeds=(0,))
MAPS = attention.maps_of_runs(STUDY, 0)
LESIONS = {
    f"{kind}-1": (lesion.image, lesion.lesion_mask)
    for kind in ("melanoma", "nevus")
    for lesion in [draw_lesion(kind, 1, 64)]
}
BUILT = Path("_build/html/isic2017-256-imagenet/10_explorer.html")


@pytest.fixture(scope="module")
def html() -> str:
    return widgets.page(LESIONS, MAPS, "made")


@pytest.fixture
def page(browser, html, tmp_path):
    """The explorer alone in a page from disk, without a network; at the end nothing was logged and nothing fetched."""
    (tmp_path / "page.html").write_text(f'<!doctype html><meta charset="utf8"><body>{html}', encoding="utf8")
    faults: list[str] = []
    opened = browser.new_page(offline=True)
    opened.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda request: faults.append(request.url) if request.url.startswith("http") else None)
    opened.goto((tmp_path / "page.html").as_uri())
    yield opened
    opened.close()
    assert faults == []


def seen(page) -> bytes:
    return page.locator(".explorer-stack").screenshot()


@pytest.mark.browser
def test_the_slider_fades_the_map(page):
    slider, before = page.get_by_label("Map over image"), seen(page)
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    assert page.locator("output").inner_text() == "0 %"
    assert page.locator("img.explorer-map").evaluate("one => getComputedStyle(one).opacity") == "0"
    assert seen(page) != before


@pytest.mark.browser
def test_another_network_has_other_maps_and_another_block_another_picture_and_other_words(page):
    lesion, network, which = (page.get_by_label(name, exact=True) for name in ("Lesion", "Network", "Map"))
    assert which.locator("option").all_inner_texts() == [
        "class activation, melanoma",
        "class activation, seborrheic keratosis",
    ]
    network.select_option("ARL-CNN14")
    assert which.locator("option").count() == 6
    before, words = seen(page), page.locator("figcaption").inner_text()
    which.select_option("attention mask, stage 3, block 1")
    assert seen(page) != before
    said = page.locator("figcaption").inner_text()
    assert said != words and said.startswith("attention mask, stage 3, block 1 of ARL-CNN14 over synthetic melanoma 1:")
    assert page.locator("img.explorer-map").get_attribute("alt") == said
    photo = page.locator("img.explorer-photo").get_attribute("src")
    lesion.select_option("synthetic nevus 1")
    assert page.locator("img.explorer-photo").get_attribute("alt") == "The lesion: synthetic nevus 1."
    assert page.locator("img.explorer-photo").get_attribute("src") != photo


@pytest.mark.browser
def test_a_map_that_both_networks_have_stays_chosen(page):
    page.get_by_label("Map", exact=True).select_option("class activation, seborrheic keratosis")
    page.get_by_label("Network").select_option("ARL-CNN14")
    assert page.get_by_label("Map", exact=True).input_value() == "seborrheic_keratosis"


@pytest.mark.browser
def test_every_choice_is_reached_by_keyboard(page):
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.choice"))
    assert reached == ["lesion", "network", "map", "fade", "outline"]
    page.keyboard.press("Space")
    assert page.locator("img.explorer-outline").is_hidden()


@pytest.mark.browser
@pytest.mark.skipif(
    not BUILT.is_file() or 'class="explorer' not in BUILT.read_text(), reason="no site with an explorer is built here"
)
def test_the_built_page_explores_without_an_error(browser):
    faults: list[str] = []
    for scheme in ("light", "dark"):
        opened = browser.new_page(offline=True, color_scheme=scheme)
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.goto(BUILT.resolve().as_uri())
        # Reason: a theme's style sheet may hide what a page of its own shows (Bootstrap's class `fade` did).
        unseen = "one => [...one.querySelectorAll('*')].filter(each => getComputedStyle(each).opacity === '0').length"
        assert opened.locator(".explorer").evaluate(unseen) == 0
        before = seen(opened)
        opened.get_by_label("Network").select_option(index=1)
        opened.get_by_label("Map", exact=True).select_option(index=3)
        assert seen(opened) != before
        opened.close()
    assert faults == []


def test_without_scripts_the_first_map_lies_over_the_first_lesion(html):
    still = re.sub(r"(?s)<script.*?</script>", "", html)
    alternatives = re.findall(r'<img [^>]*alt="([^"]+)"', still)
    assert alternatives[0] == "The lesion: synthetic melanoma 1."
    assert alternatives[1].startswith(
        "class activation, melanoma of ResNet-14 over synthetic melanoma 1: highest at the "
    )
    assert len(re.findall(r'src="data:image/', still)) == 3


def test_nothing_is_loaded_from_elsewhere_and_the_page_comes_out_alike(html):
    assert not re.search(r"https?://", html)
    assert widgets.page(LESIONS, MAPS, "made") == html


def test_the_words_are_those_of_the_map():
    inside = np.zeros((8, 8), dtype=bool)
    inside[:, 4:] = True
    assert widgets.describe(np.array([[0.0, 1.0], [0.0, 1.0]]), inside) == (
        "highest at the top right; 88 % of it lies inside the outline, which is 50 % of the image."
    )
    assert widgets.describe(np.ones((2, 2)), inside) == "the same everywhere."


def test_a_picture_of_a_map_runs_from_dark_to_pale():
    (uri,) = re.findall(
        r'<img class="explorer-map[^>]*src="data:image/png;base64,([^"]+)"', widgets.page(LESIONS, MAPS, "x")
    )
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGB"))
    assert drawn[0, 0].tolist() == [0, 0, 4] and drawn[-1, -1].tolist() == [252, 255, 164]


def test_an_outline_is_clear_but_for_the_edge():
    mask = np.zeros((64, 64), dtype=bool)
    mask[16:48, 16:48] = True
    levels = np.asarray(widgets.outline(mask))
    assert levels[128, 128] == 0 and levels[0, 0] == 0
    assert set(np.unique(levels)) == {0, 1, 2}


def test_a_real_lesion_is_called_by_its_kind_and_id():
    renamed = {"ISIC_1": LESIONS["nevus-1"]}
    maps = {one: table.assign(image_id=table["image_id"].replace("nevus-1", "ISIC_1")) for one, table in MAPS.items()}
    assert "The lesion: neither, ISIC_1." in widgets.page(renamed, maps, "real", {"ISIC_1": "neither"})


def test_a_study_without_runs_says_so():
    said = widgets.explore_study(LESIONS, Study(ISIC2017_256, ())).data
    assert said == "<p>No completed runs yet.</p>"
