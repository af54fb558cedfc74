"""The extra images are those of the rule: counted, none of the challenge again, and the same when repeated."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from arlrepro.data.extra_images import COUNTS, choose, from_archive, from_ham10000, lot, read_manifest
from arlrepro.data.isic import IsicDataset, read_dataset, read_ham10000
from arlrepro.errors import DatasetError, OutputError
from arlrepro.registry import SPLITS
from helpers import isic_folder
from helpers.http_server import Fault, Server, serving

PAGES = json.loads((Path(__file__).parent / "isic_archive_search.json").read_text())["pages"]
IMAGES = {image["isic_id"]: image for page in PAGES.values() for image in page["results"]}
FEW = {"melanoma": 2, "seborrheic_keratosis": 1, "nevus": 3}
LOOK_ALIKE = "ISIC_0000304"  # of the test image ISIC_5


def picture(image_id: str) -> bytes:
    seed = int(image_id.removeprefix("ISIC_"))
    values = isic_folder.pixels(5) // 2 + 90 if image_id == LOOK_ALIKE else isic_folder.pixels(seed)
    return isic_folder.encoded(values, quality=95)


@pytest.fixture
def challenge(tmp_path) -> IsicDataset:
    return read_dataset(isic_folder.write(tmp_path / "challenge", isic_folder.official_files()))


@pytest.fixture
def archive():
    """A server that answers as the ISIC Archive's API does, from a made file."""
    served = Server({f"{image_id}.jpg": picture(image_id) for image_id in IMAGES})

    def answer(path: str) -> bytes | None:
        path = path.removeprefix("/2017/images/")
        found = PAGES.get(path, IMAGES.get(path.removesuffix("/")))
        api = served.url.rstrip("/")
        return found and json.dumps(found).replace("{api}", api).replace("{files}", f"{api}/files").encode()

    served.answer = answer
    with serving(served):
        yield served


def gather(archive: Server, root: Path, challenge: IsicDataset, **options):
    options = {"counts": FEW, "api_url": archive.url.rstrip("/"), "progress": False, "back_off": 0.001} | options
    return from_archive(root, challenge, **options)


def candidates(**kinds: list[str]) -> pd.DataFrame:
    """Candidates of unknown lesions, by kind."""
    rows = [(image_id, kind, "", "", "", "") for kind, image_ids in kinds.items() for image_id in image_ids]
    columns = ["image_id", "kind", "lesion_id", "source", "license", "attribution"]
    return pd.DataFrame(rows, columns=columns).set_index("image_id")


def test_counts_are_those_recalled_of_the_paper():
    assert sum(COUNTS.values()) == 1320


def test_archive_images_become_a_folder_in_the_plain_layout(archive, tmp_path, challenge):
    choice = gather(archive, tmp_path / "extra", challenge)
    dataset = read_dataset(tmp_path / "extra", splits=["training"])
    assert list(dataset.lesions.index) == list(choice.chosen.index)
    assert dataset.lesions["melanoma"].tolist() == [1, 1, 0, 0, 0, 0]
    assert dataset.lesions["seborrheic_keratosis"].tolist() == [0, 0, 1, 0, 0, 0]
    assert all(dataset.image_bytes(image_id) == picture(image_id) for image_id in dataset.lesions.index)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["challenge", "extra"]


def test_ids_and_lesions_of_the_challenge_are_excluded(archive, tmp_path, challenge):
    choice = gather(archive, tmp_path / "extra", challenge, counts=FEW | {"nevus": 0})
    assert sorted(choice.chosen.index) == sorted(
        [*sorted(["ISIC_0000101", "ISIC_0000103", "ISIC_0000104"], key=lot(2019))[:2], "ISIC_0000201"]
    )
    assert choice.excluded["reason"].to_dict() == {
        "ISIC_4": "is in the challenge",
        "ISIC_0000102": "shows a lesion of the challenge",
        "ISIC_3": "is in the challenge",
    }


def test_near_duplicates_of_test_images_are_excluded_and_make_room(archive, tmp_path, challenge):
    nevi = [f"ISIC_000030{last}" for last in range(1, 6)]
    seed = next(seed for seed in range(100) if min(nevi, key=lot(seed)) == LOOK_ALIKE)  # drawn first
    choice = gather(archive, tmp_path / "extra", challenge, counts={"nevus": 4}, seed=seed)
    assert set(choice.chosen.index) == {f"ISIC_000030{last}" for last in (1, 2, 3, 5)}
    assert choice.excluded.loc[LOOK_ALIKE, "reason"] == "near-duplicate of test image ISIC_5"
    assert not (tmp_path / "extra" / f"{LOOK_ALIKE}.jpg").exists()
    assert choice.counts.loc["nevus"].to_dict() == {
        "candidates": 5,
        "is in the challenge": 0,
        "shows a lesion of the challenge": 0,
        "near-duplicate of test image": 1,
        "chosen": 4,
    }


def test_near_duplicates_of_training_images_may_be_chosen(challenge):
    choice = choose(
        candidates(nevus=["copy"]), challenge, lambda _: challenge.open_image("ISIC_1"), counts={"nevus": 1}
    )
    assert list(choice.chosen.index) == ["copy"]


def test_manifest_says_what_each_image_is_and_where_it_came_from(archive, tmp_path, challenge):
    gather(archive, tmp_path / "extra", challenge, counts={"melanoma": 3}, seed=7)
    rows = (tmp_path / "extra" / "extra.csv").read_text().splitlines()
    assert rows[0] == "image_id,split,melanoma,seborrheic_keratosis,lesion_id,source,license,attribution,seed"
    query = "diagnosis_3:Melanoma* AND image_type:dermoscopic"
    assert f"ISIC_0000101,training,1,0,IL_1,{query},CC-BY,A made hospital,7" in rows
    assert f"ISIC_0000103,training,1,0,,{query},CC-BY,A made hospital,7" in rows
    assert (tmp_path / "extra" / "excluded.csv").read_text() == (
        "candidate,kind,reason\n"
        "ISIC_4,melanoma,is in the challenge\n"
        "ISIC_0000102,melanoma,shows a lesion of the challenge\n"
        "ISIC_3,seborrheic_keratosis,is in the challenge\n"
    )


def test_a_manifest_repeats_the_choice_without_a_query(archive, tmp_path, challenge):
    first = gather(archive, tmp_path / "first", challenge, seed=7)
    asked, answer = [], archive.answer
    archive.answer = lambda path: "files" in path or asked.append(path) or answer(path)
    again = gather(archive, tmp_path / "again", challenge, manifest=tmp_path / "first" / "extra.csv")
    assert list(again.chosen.index) == list(first.chosen.index)
    assert (tmp_path / "again" / "extra.csv").read_bytes() == (tmp_path / "first" / "extra.csv").read_bytes()
    assert {*asked} == {f"/2017/images/{image_id}/" for image_id in first.chosen.index}


def test_the_draw_depends_on_the_seed_and_on_no_other_candidate(challenge):
    def draw(names: list[str], seed: int) -> list[str]:
        pictures = {name: isic_folder.pixels(100 + place) for place, name in enumerate(names)}
        few = choose(
            candidates(nevus=names), challenge, lambda name: isic_folder.Image.fromarray(pictures[name]),
            counts={"nevus": 5}, seed=seed, progress=False,
        )  # fmt: skip
        return list(few.chosen.index)

    names = [f"HAM_{number}" for number in range(40)]
    drawn = draw(names, seed=0)
    assert draw(names[::-1], seed=0) == drawn
    assert draw([name for name in names if name != drawn[2]], seed=0)[:4] == [*drawn[:2], *drawn[3:]]
    assert draw(names, seed=1) != drawn


def test_an_interrupted_call_does_not_fetch_its_images_again(archive, tmp_path, challenge):
    last = sorted(["ISIC_0000101", "ISIC_0000103", "ISIC_0000104"], key=lot(2019))[-1]
    archive.faults[f"{last}.jpg"] = [Fault(status=404)]
    with pytest.raises(DatasetError, match="404"):
        gather(archive, tmp_path / "extra", challenge, counts={"melanoma": 3})
    assert not (tmp_path / "extra").exists()
    archive.faults.clear()
    archive.asked.clear()
    gather(archive, tmp_path / "extra", challenge, counts={"melanoma": 3})
    assert [name for _, name, _ in archive.asked if name.endswith(".jpg")] == [f"{last}.jpg"]


def test_an_image_that_does_not_decode_is_fetched_again_by_the_next_call(archive, tmp_path, challenge):
    archive.files["ISIC_0000201.jpg"] = b"<html>"
    with pytest.raises(DatasetError, match=r"ISIC_0000201\.part: is a web page in place of the picture"):
        gather(archive, tmp_path / "extra", challenge, counts={"seborrheic_keratosis": 1})
    archive.files["ISIC_0000201.jpg"] = picture("ISIC_0000201")
    choice = gather(archive, tmp_path / "extra", challenge, counts={"seborrheic_keratosis": 1})
    assert list(choice.chosen.index) == ["ISIC_0000201"]
    assert sorted(path.name for path in (tmp_path / "extra").iterdir()) == [
        "ISIC_0000201.jpg",
        "excluded.csv",
        "extra.csv",
    ]


def test_too_few_candidates_are_told(archive, tmp_path, challenge):
    with pytest.raises(DatasetError) as caught:
        gather(archive, tmp_path / "extra", challenge, counts={"melanoma": 4})
    assert str(caught.value) == (
        "extra images: 3 of 4 of melanoma found among 5 candidates. Ask for fewer, or of another source."
    )


def test_a_folder_with_files_is_left_alone(archive, tmp_path, challenge):
    with pytest.raises(DatasetError) as caught:
        gather(archive, tmp_path / "challenge", challenge)
    assert str(caught.value) == (
        f"{tmp_path}/challenge: exists already; remove it or name another folder for the extra images."
    )


def test_a_challenge_without_its_three_splits_is_refused(tmp_path, challenge):
    partly = read_dataset(challenge.root, splits=["training", "test"])
    with pytest.raises(DatasetError) as caught:
        choose(candidates(nevus=["a"]), partly, partly.open_image, counts={"nevus": 1})
    assert str(caught.value) == f"{challenge.root}: no validation images; the rule excludes those of all splits."


def test_answers_that_are_not_of_the_api_are_told(archive, tmp_path, challenge):
    search = f"{archive.url}images/search/?query=diagnosis_3%3AMelanoma%2A+AND+image_type%3Adermoscopic"
    for content, error in ((b"<html>", "JSONDecodeError"), (b'{"images": []}', "KeyError('results')")):
        archive.answer = lambda _, content=content: content
        with pytest.raises(DatasetError) as caught:
            gather(archive, tmp_path / "extra", challenge)
        assert str(caught.value).startswith(f"{search}: not an answer of the Archive's API ({error}")
        assert "\n" not in str(caught.value)


def test_ids_that_would_leave_the_folder_are_refused(archive, tmp_path, challenge):
    page = {"results": [IMAGES["ISIC_0000101"] | {"isic_id": "../ISIC_0000101"}], "next": None}
    archive.answer = lambda _: json.dumps(page).encode()
    with pytest.raises(DatasetError) as caught:
        gather(archive, tmp_path / "extra", challenge)
    assert str(caught.value) == ("extra images: ids that are no file names: ../ISIC_0000101. Do not use this source.")


def test_a_place_that_cannot_be_written_is_told(tmp_path, challenge):
    (tmp_path / "file").write_text("in the way")
    ham10000 = read_dataset(challenge.root)
    ham10000.lesions["dx"], ham10000.lesions["lesion_id"] = "nv", ""
    with pytest.raises(OutputError) as caught:
        from_ham10000(tmp_path / "file" / "extra", challenge, ham10000, progress=False)
    assert str(caught.value).startswith(f"{tmp_path}/file/extra.partial: cannot be written (Not a directory); ")


def test_what_is_no_manifest_is_told(tmp_path):
    with pytest.raises(DatasetError) as caught:
        read_manifest(tmp_path / "extra.csv")
    assert str(caught.value) == f"{tmp_path}/extra.csv: no such file. Name the extra.csv of a folder of extra images."
    (tmp_path / "extra.csv").write_text("image_id,melanoma\nISIC_1,1\n")
    with pytest.raises(DatasetError) as caught:
        read_manifest(tmp_path / "extra.csv")
    assert str(caught.value) == (
        f"{tmp_path}/extra.csv: no column seborrheic_keratosis, lesion_id, source, license, attribution, seed. "
        "Name the extra.csv of a folder of extra images."
    )
    header = "image_id,split,melanoma,seborrheic_keratosis,lesion_id,source,license,attribution,seed\n"
    (tmp_path / "extra.csv").write_text(header + "ISIC_1,training,1,0,,,,,7\nISIC_2,training,1,0,,,,,8\n")
    with pytest.raises(DatasetError) as caught:
        read_manifest(tmp_path / "extra.csv")
    assert str(caught.value) == f"{tmp_path}/extra.csv: not one seed but 7, 8. Name a manifest as it was written."


def test_ham10000_gives_melanoma_and_nevus_by_class_and_bkl_for_seborrheic_keratosis(tmp_path, challenge):
    kinds = ["mel", "bkl", "nv", "bcc", "nv"]
    rows = "".join(f"HAM_{i},ISIC_002000{i},{dx},histo,50,male,back\n" for i, dx in enumerate(kinds))
    files = {f"HAM10000_images_part_1/ISIC_002000{i}.jpg": picture(f"ISIC_002000{i}") for i in range(len(kinds))}
    csv = "lesion_id,image_id,dx,dx_type,age,sex,localization\n" + rows
    ham10000 = read_ham10000(isic_folder.write(tmp_path / "ham", {"HAM10000_metadata.csv": csv.encode(), **files}))
    counts = {"melanoma": 1, "seborrheic_keratosis": 1, "nevus": 2}
    choice = from_ham10000(tmp_path / "extra", challenge, ham10000, counts=counts, progress=False)
    assert choice.chosen["kind"].to_dict() == {
        "ISIC_0020000": "melanoma",
        "ISIC_0020001": "seborrheic_keratosis",
        "ISIC_0020002": "nevus",
        "ISIC_0020004": "nevus",
    }
    assert choice.chosen.loc["ISIC_0020001", "source"] == "HAM10000, dx = bkl"
    assert set(read_dataset(tmp_path / "extra", splits=["training"]).lesions["split"]) == {"training"}


@pytest.mark.real_data
def test_the_rule_runs_on_real_images_of_ham10000(tmp_path):
    places = [os.environ.get(name) for name in ("ARLREPRO_DATA", "ARLREPRO_HAM10000")]
    if not all(places):
        pytest.skip("ARLREPRO_DATA and ARLREPRO_HAM10000 name no folders with real images")
    challenge, ham10000 = (
        read_dataset(Path(place), splits=SPLITS if i == 0 else ["test"]) for i, place in enumerate(places)
    )
    choice = from_ham10000(tmp_path / "extra", challenge, ham10000, progress=False)
    assert choice.chosen["kind"].value_counts().to_dict() == dict(COUNTS)
    assert choice.counts["candidates"].to_dict() == {"melanoma": 1113, "seborrheic_keratosis": 1099, "nevus": 6705}
    assert not set(choice.chosen.index) & set(challenge.lesions.index)
    lesions = read_dataset(tmp_path / "extra", splits=["training"]).lesions
    assert np.array_equal(lesions[["melanoma", "seborrheic_keratosis"]].sum(), [466, 32])
