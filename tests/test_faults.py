"""The campaign of faults, in its short form: every fault is noticed or does no harm. `make faults` runs the whole."""

from benchmarks.faults import SHORT, campaign


def test_every_fault_is_survived():
    table = campaign(SHORT)
    lost = table[table["survived"] < table["injected"]]
    assert lost.empty, lost
    assert (table["injected"] == SHORT).all()
