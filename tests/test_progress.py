"""A bar shows the pace of this process."""

import io

from tqdm import tqdm

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
