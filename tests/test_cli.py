"""The commands: what works ends with 0, what is wrong with the input with one line and 2, faults in it with 1."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from typer.testing import CliRunner

from arlrepro import cli
from arlrepro.book.tables.comparison import PRINTED
from arlrepro.registry import NETWORKS
from arlrepro.runs.archive import write_run
from helpers.made_runs import small_run


def arlrepro(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arlrepro", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "--network", "vgg"], f"arlrepro: unknown network 'vgg'; known: {', '.join(NETWORKS)}"),
        (["train", "--network", "resnet14", "--profile", "big"], "arlrepro: unknown profile 'big'; known: smoke, demo"),
        (
            ["train", "--network", "resnet14", "--set", "train.epoch=5"],
            "arlrepro: unknown field of train 'epoch'; known",
        ),
        (
            ["train", "--network", "resnet14", "--set", "train.epochs=0"],
            "arlrepro: train.epochs is 0; it must be in [1, ",
        ),
        (
            ["train", "--network", "resnet14", "--set", "train.epochs=x"],
            "arlrepro: config.train.epochs is 'x'; it must",
        ),
        (
            ["train", "--network", "resnet14", "--profile", "isic2017-256", "--data", "none"],
            "arlrepro: none: no such folder.",
        ),
        (
            ["train", "--network", "ran50", "--profile", "paper"],
            "arlrepro: weights imagenet do not fit ran50, only resnet50, arl_cnn50, se_resnet50",
        ),
        (
            ["train", "--network", "resnet14", "--weights-dir", "/none"],
            "arlrepro: --weights-dir /none: no such folder; make it and put the weights there",
        ),
        (
            ["archive", "runs/none"],
            "arlrepro: runs/none: no such run; `arlrepro reproduce` makes the runs of a profile",
        ),
        (["data", "check", "/none"], "arlrepro: /none: no such folder."),
        (["score", "none.csv", "--truth", "none.csv"], "arlrepro: ./none.csv: is not there. Name a file."),
        (["book", "--publish", "--data", "x"], "arlrepro: --publish takes no --data: committed pages come from"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_start_ends_with_one_line_and_status_2(arguments, line):
    answer = arlrepro(*arguments)
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].startswith(line)
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_help_names_every_command():
    answer = arlrepro("--help")
    assert answer.returncode == 0
    for command in ("train", "reproduce", "results", "archive", "measure", "score", "predict", "book", "data"):
        assert command in answer.stdout


def test_a_drawn_data_set_has_no_faults_and_json_is_all_that_is_printed(tmp_path):
    root = tmp_path / "drawn"
    synth = arlrepro("data", "synth", root, "--side", 32, "--training", 9, "--validation", 6, "--test", 6)
    assert (synth.returncode, synth.stdout) == (0, f"21 images of 32 px in {root}\n")
    check = arlrepro("data", "check", root, "--json")
    assert check.returncode == 0
    assert json.loads(check.stdout)["counts"]["training"]["images"] == 9


def test_faults_in_a_data_set_end_with_status_1(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "A.jpg").write_bytes(b"no picture")
    pd.DataFrame({"image_id": ["A"], "melanoma": [0], "seborrheic_keratosis": [1]}).to_csv(
        tmp_path / "labels.csv", index=False
    )
    answer = arlrepro("data", "check", tmp_path)
    assert answer.returncode == 1
    assert "1 files do not decode" in answer.stdout


def test_scores_of_a_run_are_what_its_metrics_say(tmp_path):
    run = small_run()
    test = run.of("test").reset_index()
    test[["image_id", "melanoma", "seborrheic_keratosis"]].to_csv(tmp_path / "predictions.csv", index=False)
    truth = test[["image_id", "melanoma_label", "seborrheic_keratosis_label"]]
    truth.columns = ["image_id", "melanoma", "seborrheic_keratosis"]
    truth.to_csv(tmp_path / "truth.csv", index=False)
    answer = arlrepro("score", tmp_path / "predictions.csv", "--truth", tmp_path / "truth.csv")
    assert answer.returncode == 0
    assert f"{run.metrics['test']['melanoma']['auc']:.3f}" in answer.stdout


def test_a_runs_submission_is_a_file_that_score_reads(tmp_path):
    run = small_run()
    (tmp_path / run.id).mkdir()
    write_run(run, tmp_path / run.id)
    answer = arlrepro("submission", tmp_path / run.id)
    assert answer.returncode == 0
    (tmp_path / "predictions.csv").write_text(answer.stdout)
    truth = run.of("test").reset_index()[["image_id", "melanoma_label", "seborrheic_keratosis_label"]]
    truth.columns = ["image_id", "melanoma", "seborrheic_keratosis"]
    truth.to_csv(tmp_path / "truth.csv", index=False)
    scored = arlrepro("score", tmp_path / "predictions.csv", "--truth", tmp_path / "truth.csv")
    assert scored.returncode == 0
    for name in ("melanoma", "seborrheic_keratosis"):
        assert f"{run.metrics['test'][name]['auc']:.3f} [" in scored.stdout


def test_archiving_a_live_run_copies_its_text_files(tmp_path, monkeypatch):
    run = small_run()
    live = tmp_path / "runs" / "smoke" / run.id
    live.mkdir(parents=True)
    write_run(run, live)
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    answer = arlrepro("archive", live)
    assert (answer.returncode, answer.stdout) == (0, f"{tmp_path}/results/smoke/{run.id}\n")
    assert (tmp_path / "results" / "smoke" / run.id / "metrics.json").is_file()


def test_results_are_written_as_csv_and_latex(tmp_path):
    answer = arlrepro("results", "--out", tmp_path / "printed")
    assert answer.returncode == 0
    written = sorted(path.name for path in (tmp_path / "printed").iterdir())
    assert written == sorted(f"{name}.{ending}" for name in PRINTED for ending in ("csv", "tex"))
    assert answer.stdout == f"{len(PRINTED)} tables, each as CSV and LaTeX, in {tmp_path / 'printed'}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["results", "--out", "{file}/x"],
        ["results", "--out", "{file}"],
        ["data", "synth", "{file}/x", "--training", 3, "--validation", 3, "--test", 3, "--side", 16],
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:2])),
)
def test_an_output_that_cannot_be_written_is_one_line_that_does_not_ask_for_room(tmp_path, arguments):
    (tmp_path / "file").touch()
    answer = arlrepro(*(str(one).format(file=tmp_path / "file") for one in arguments))
    assert answer.returncode == 2
    assert answer.stderr.splitlines()[-1].startswith(f"arlrepro: {tmp_path / 'file'}")
    assert "cannot be written (" in answer.stderr and "room" not in answer.stderr
    assert "Traceback" not in answer.stderr


def read_only(folder: Path) -> list[str | Path]:
    """What goes before a command so that a folder cannot be written by it, whoever runs it."""
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    before = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, folder]
    if shutil.which("unshare") is None or subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("no read-only mount here: this system lends no name space")
    return before


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ("book --profile isic2017-256", "_build"),
        ("book --profile isic2017-256 --publish", "_build"),
        ("book --profile smoke", "_build"),
        ("train --profile smoke --network resnet14", "runs/smoke"),
        ("data synth {0}/x --side 16", "x"),
        ("results --out {0}/x", "x"),
    ],
)
def test_in_a_read_only_checkout_one_line_says_so(tmp_path, arguments, place):
    command = [*read_only(tmp_path), sys.executable, "-m", "arlrepro", *arguments.format(tmp_path).split()]
    environment = {**os.environ, "ARLREPRO_ROOT": str(tmp_path)}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.splitlines()[-1] == (
        f"arlrepro: {tmp_path}/{place}: cannot be written (Read-only file system); it lies on a read-only disk: name "
        "another folder"
    )
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("arguments", [["book", "--profile", "isic2017-256"], ["train", "--network", "resnet14"]])
def test_a_checkout_without_the_right_to_write_is_one_line(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["arlrepro", *arguments])
    monkeypatch.setattr(Path, "mkdir", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("cannot be written (Permission denied); give yourself the right to it, or name another folder")
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "x"), "arlrepro: x: No space left on device; make room on the disk\n"),
        (OSError(30, "Read-only file system", "x"), "arlrepro: x: Read-only file system; it lies on a read-only disk"),
        (
            OSError(24, "Too many open files"),
            "arlrepro: Too many open files; raise the limit on open files (ulimit -n)",
        ),
    ],
)
def test_whatever_the_system_refuses_is_one_line_with_its_own_remedy(monkeypatch, capsys, error, line):
    monkeypatch.setattr(cli, "app", mock.Mock(side_effect=error))
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize("limit", [7, 10, 12])
@pytest.mark.parametrize(
    "arguments", ["data synth {0}/x --side 16 --training 3 --validation 3 --test 3", "score {0} --truth {0}"]
)
def test_a_limit_on_open_files_is_one_line_or_no_hindrance(tmp_path, limit, arguments):
    command = f"ulimit -n {limit}; {sys.executable} -m arlrepro {arguments.format(tmp_path)}"
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert answer.returncode in (0, 2) and "Traceback" not in answer.stderr
    if "Too many open files" in answer.stderr:
        assert answer.stderr.rstrip().endswith("raise the limit on open files (ulimit -n)")


@pytest.mark.parametrize("reader", ["true", "head -c 1", "head -n 1"])
def test_a_reader_of_stderr_that_goes_away_ends_no_work(tmp_path, reader):
    """The given fault: a bar that nobody reads ended the command."""
    command = f"{sys.executable} -m arlrepro data synth {tmp_path / 'x'} --side 16 --training 30"
    shell = f"{{ {{ {command} --validation 3 --test 3; echo status $? >&3; }} 2>&1 1>&3 | {reader} >/dev/null; }} 3>&1"
    answer = subprocess.run(["sh", "-c", shell], capture_output=True, text=True)
    assert answer.stdout == f"36 images of 16 px in {tmp_path / 'x'}\nstatus 0\n"
    assert answer.stderr == ""


@pytest.mark.parametrize("arguments", ["results", "score {0}/predictions.csv --truth {0}/truth.csv --json"])
@pytest.mark.parametrize("reader", ["true", "head -n 1"])
def test_a_reader_of_stdout_that_goes_away_is_no_traceback(tmp_path, arguments, reader):
    table = pd.DataFrame({"image_id": list("abcd"), "melanoma": [0, 1, 0, 1], "seborrheic_keratosis": [1, 0, 0, 0]})
    for name in ("predictions", "truth"):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    command = f"{sys.executable} -m arlrepro {arguments.format(tmp_path)} | {reader} >/dev/null"
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in answer.stderr and "BrokenPipe" not in answer.stderr


def test_a_closed_stderr_breaks_nothing(tmp_path):
    command = f"exec 2>&-; {sys.executable} -m arlrepro data synth {tmp_path / 'x'} --side 16 --training 3"
    answer = subprocess.run(["sh", "-c", f"{command} --validation 3 --test 3"], stdout=subprocess.PIPE, text=True)
    assert (answer.returncode, answer.stdout) == (0, f"9 images of 16 px in {tmp_path / 'x'}\n")


def test_the_version_is_printed():
    answer = CliRunner().invoke(cli.app, ["--version"])
    assert answer.exit_code == 0
    assert re.fullmatch(r"arlrepro \d+\.\d+\S*\n", answer.output)


@pytest.mark.parametrize("profile", ["isic2017-256", "isic2017-256-imagenet"])
def test_results_fit_100_columns(profile):
    answer = CliRunner().invoke(cli.app, ["results", "--profile", profile])
    assert answer.exit_code == 0
    assert max(map(len, answer.output.splitlines())) <= 100


def test_results_without_runs_say_so(monkeypatch, tmp_path):
    monkeypatch.setenv("ARLREPRO_ROOT", str(tmp_path))
    assert CliRunner().invoke(cli.app, ["results", "--profile", "paper"]).output == "no completed runs of paper\n"
