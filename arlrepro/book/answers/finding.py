"""What a page found and what follows from it: the form of its first and last sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arlrepro import registry
from arlrepro.evaluation.intervals import Difference, Estimate
from arlrepro.runs import estimates
from arlrepro.runs.estimates import FEWEST_SEEDS, Outcome, known
from arlrepro.runs.study import Study, partners

if TYPE_CHECKING:
    from IPython.display import Markdown

#: Of which correlation of two AUC estimates the test set's limits are told.
CORRELATION = 0.7


@dataclass(frozen=True)
class Finding:
    """What a page found, and what follows from it; a cell that returns it shows the first."""

    found: str
    then: str

    def _repr_markdown_(self) -> str:
        return f"**{self.found}**"

    def __str__(self) -> str:
        return f"{self.found} {self._then()}"

    def _then(self) -> str:
        return self.then[0].upper() + self.then[1:]

    @property
    def follows(self) -> "Markdown":
        """The page's last sentence."""
        from IPython.display import Markdown

        return Markdown(self._then())


def names_of(some: Sequence[str]) -> str:
    """Networks in words: one, two with an "and" between them, or more with commas before it."""
    *first, last = map(registry.network, some)
    return f"{', '.join(first)} and {last}" if first else last


def difference(study: Study, quantity: str = "mean_auc") -> Outcome[Difference] | None:
    """ARL minus the ResNet of its depth, of a study's first pair; None without runs."""
    pairs = partners(study)
    return known(estimates.difference, study, pairs[0], quantity) if pairs else None


def level(one: Outcome[Estimate]) -> str:
    """A metric of one network, with its interval where there are seeds enough for one."""
    few = len(one.seeds) < FEWEST_SEEDS
    return f"{one.estimate.value:.3f}" if few else one.estimate.text()


def nothing(study: Study) -> Finding:
    """The finding of a page that has no completed runs to show."""
    lacking = "no pair of runs is completed" if study.runs else f"no run of {study.profile.name} is completed"
    return Finding(
        f"Not tested: {lacking} ({len(study.runs)} of {len(study.runs) + len(study.missing)} planned runs).",
        f"nothing yet; [what is planned](../{study.profile.name}/05_protocol.ipynb) was fixed before the first run.",
    )
