"""Make .venv and install this project with the versions of constraints.txt: `python3 setup_venv.py book test`.

Only the standard library and syntax that Python 3.6 can read, so that an old Python is told that it is too old.
Nothing happens when what is asked for is already there.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)  # as requires-python in pyproject.toml
NEEDED_GB = 8  # the installed packages and their downloads
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up.txt"  # written last: fingerprint of what was asked for, then the extras
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]


def stop(message):
    """End with one line and the exit status of what could not start."""
    sys.stderr.write(f"set-up: {message}\n")
    sys.exit(2)


def usable(python):
    """Whether a Python runs and is one that this project supports."""
    ask = [str(python), "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        answer = subprocess.check_output(ask, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False
    return OLDEST <= tuple(map(int, answer.split())) <= NEWEST


def find_python():
    """Return the Python that runs this file if it is supported, else the newest supported one on the PATH."""
    names = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    for python in [sys.executable, *names]:
        if usable(python):
            return python
    stop(
        f"needs Python 3.{OLDEST[1]} to 3.{NEWEST[1]}; this one is {sys.version.split()[0]}, and none of "
        f"{', '.join(names)} runs. Install one of them, or name it: make PYTHON=/path/to/python3.{OLDEST[1]} ..."
    )


def check_disk():
    """Stop if the packages would not fit."""
    free_gb = shutil.disk_usage(str(ROOT)).free / 1e9
    if free_gb < NEEDED_GB:
        stop(f"the packages need about {NEEDED_GB} GB; {ROOT} has {free_gb:.1f} GB free. Make room and run it again.")


def make_venv():
    """Make .venv, unless there is one whose Python runs."""
    if not usable(PYTHON):
        python = find_python()
        if subprocess.call([python, "-m", "venv", "--clear", str(VENV)]) != 0:
            stop(f"{python} -m venv failed, see above. On Debian and Ubuntu: apt install python3-venv.")


def check_index():
    """Stop if pip reaches no package index: ask for one small package that the installation needs in any case."""
    ask = [*PIP, "download", "-qq", "--no-deps", "--retries", "1", "--timeout", "15", "setuptools>=77", "--dest"]
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run([*ask, folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf8")
    if answer.returncode != 0:
        said = (answer.stderr.strip().splitlines() or ["nothing"])[-1]
        stop(
            f"no package index answers; pip says: {said}. Check the network and any proxy (HTTPS_PROXY), "
            "or name a mirror (PIP_INDEX_URL)."
        )


def install(extras):
    """Install this checkout with these extras; a terminal sees the downloads move, a log only what went wrong."""
    quiet = [] if sys.stdout.isatty() else ["-qq"]
    # Reason: to compile every module of every package takes 50 s of a core; Python compiles those that are imported.
    what = ["--no-compile", "-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{','.join(extras)}]"]
    if subprocess.call([*PIP, "install", *quiet, *what]) != 0:
        stop("pip could not install the packages, see above. Run it again when that is mended.")


def main(extras):
    """Set up .venv with these extras of pyproject.toml, and say how long it took."""
    start = time.time()
    asked = b"".join((ROOT / name).read_bytes() for name in ("constraints.txt", "pyproject.toml"))
    fingerprint = hashlib.sha256(asked).hexdigest()
    before, *there = STAMP.read_text().split() if STAMP.exists() and usable(PYTHON) else [""]
    if before == fingerprint and set(extras) <= set(there):
        return
    wanted = sorted({*extras, *there})
    print(f"set-up: .venv with the versions of constraints.txt ({', '.join(wanted)}); some minutes", flush=True)
    check_disk()
    make_venv()
    check_index()
    install(wanted)
    STAMP.write_text(" ".join([fingerprint, *wanted]) + "\n")
    print(f"set-up took {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
