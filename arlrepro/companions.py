"""The profiles that stand beside a study's own by their names, `<profile>-ablation` and `<profile>-networks`.

Both keep the protocol: the first varies a setting of the ARL block at a time, the second has other kinds of attention.
Read from the archive.
"""

from dataclasses import replace

from arlrepro.archive import RESULTS, Study, read_study, root
from arlrepro.profiles import PROFILES

#: What each holds, by the end of its name.
KINDS = {"ablation": "variants of the ARL block", "networks": "other kinds of attention"}


def read(study: Study, kind: str) -> dict[str, Study]:
    """The archived runs of a profile beside a study's own, a study for each of its parts; none where none is planned.

    Args:
        study: of the protocol that the others vary.
        kind: one of `KINDS`.
    """
    name = f"{study.profile.name}-{kind}"
    parts = PROFILES[name].parts() if name in PROFILES else {}
    return {variant: read_study(part, root() / RESULTS / name) for variant, part in parts.items()}


def every_network(study: Study) -> Study:
    """A study with the archived runs of the other kinds of attention; the same study where there are none."""
    for others in read(study, "networks").values():
        if others.runs:
            networks = (*study.profile.networks, *others.profile.networks)
            study = Study(replace(study.profile, networks=networks), (*study.runs, *others.runs))
    return study


def about(study: Study) -> str:
    """How many of the planned runs are there, a line for each kind."""
    lines = []
    for kind, what in KINDS.items():
        parts = read(study, kind).values()
        there = sum(len(part.runs) for part in parts)
        planned = there + sum(len(part.missing) for part in parts)
        none = f"No runs of {what} are planned beside those of {study.profile.name}."
        lines.append(f"{there} of {planned} planned runs of {what} are there." if parts else none)
    return "\n".join(lines)
