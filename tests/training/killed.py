"""Train the tests' short experiment with a checkpoint after each step, to be killed: `killed.py OUT`."""

import sys
from pathlib import Path

from arlrepro.runs.weights import save_weights
from arlrepro.training.checkpoint import Checkpoint
from arlrepro.training.trainer import train
from helpers.short_experiment import made_lesions, short_experiment

if __name__ == "__main__":
    out = Path(sys.argv[1])
    training, validation = made_lesions(24, seed=1), made_lesions(12, seed=2)
    trained = train(short_experiment(), 0, training, validation, Checkpoint(out / "state", every=0.0))
    save_weights(trained.network, out / "weights")
