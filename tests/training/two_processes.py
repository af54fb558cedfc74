"""Train the tests' short experiment in as many processes as torchrun starts: `two_processes.py OUT`."""

import sys
from pathlib import Path

from arlrepro.runs.weights import save_weights
from arlrepro.training.distributed import launch
from arlrepro.training.trainer import train
from helpers.short_experiment import made_lesions, short_experiment

if __name__ == "__main__":
    training = made_lesions(24, seed=1)
    network = train(short_experiment(epochs=2, parts=2), 0, training, made_lesions(12, seed=2)).network
    save_weights(network, Path(sys.argv[1]) / f"of-rank-{launch(training.device).global_rank}")
