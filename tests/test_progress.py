"""A bar shows the pace of this process."""

import io
import os
import sys
from unittest import mock

from tqdm import tqdm

from arlrepro import progress
from arlrepro.progress import advance


def test_a_resumed_job_is_timed_by_its_own_steps():
    with tqdm(total=60, file=io.StringIO(), disable=False) as shown:
        for done in (28, 29):
            advance(shown, done)
        assert (shown.n, shown.format_dict["initial"]) == (29, 27)


def test_a_job_from_the_start_counts_every_step():
    with tqdm(total=60, file=io.StringIO(), disable=False) as shown:
        advance(shown, 1)
        assert (shown.n, shown.format_dict["initial"]) == (1, 0)


def test_a_bar_goes_on_where_its_reader_goes_away():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe, mock.patch.object(sys, "stderr", pipe):
        shown = progress.bar(range(3))
        done = [next(iter(shown))]
        os.close(reader)
        done += list(progress.bar(range(3)))
        progress.go_on_unread()
        print("who waits for whom", file=sys.stderr)
    assert done == [0, 0, 1, 2]
