"""The state of a training on disk: written whole or not at all, and refused where it is another training's."""

import pickle
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from arlrepro import storage
from arlrepro.errors import OutputError, RunError, said

#: Raised when a checkpoint holds something else, or means something else, than before.
VERSION = 2


@dataclass(frozen=True)
class Checkpoint:
    """The file that a training goes on from, and how often it is written; neither changes what is trained."""

    path: Path
    images: str = ""  # fingerprint of the data set that is trained on
    every: float = 300.0  # seconds between two checkpoints within an epoch; one is written after each epoch, too
    written: Callable[[Path], None] | None = None  # told the path after each, for a copy elsewhere

    def write(self, run_id: str, state: dict[str, Any]) -> None:
        """Write beside the last good checkpoint, which stays until the new one is whole on the disk.

        Args:
            run_id: of the run that is trained.
            state: tensors and plain values.

        Raises:
            OutputError: the disk is full, gone or read-only; the last good checkpoint is there.
        """
        try:
            with storage.replacing(self.path) as new, new.open("wb") as file:
                torch.save({"version": VERSION, "run": run_id, "images": self.images, "state": state}, file)
        except (OSError, RuntimeError) as error:
            fault = error if isinstance(error, OSError) else error.__context__  # torch says another thing on top of it
            if not isinstance(fault, OSError):
                raise
            raise OutputError(
                f"{said(fault, self.path, 'cannot be written')}, then start the training again: it goes on from its "
                "last checkpoint"
            ) from error
        if self.written is not None:
            self.written(self.path)

    def read(self, run_id: str) -> dict[str, Any] | None:
        """The state that was written last, on the CPU; None where there is none yet.

        Raises:
            RunError: the file is cut off or changed, of another version of arlrepro, of another run or of other images.
        """
        if not self.path.is_file():
            return None
        try:
            storage.check_crcs(self.path)
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise RunError(said(error, self.path, "cannot be read")) from error
        except (
            *(RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError),
            *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error),
        ) as error:
            raise RunError(f"{self.path}: not a whole checkpoint; remove it to train from the start") from error
        version = saved.get("version") if isinstance(saved, dict) else None
        if version != VERSION:
            raise RunError(
                f"{self.path}: a checkpoint of version {version}, this arlrepro reads version {VERSION}; "
                "go on with the arlrepro that wrote it, or remove it to train from the start"
            )
        if not {"run", "images", "state"} <= saved.keys() or not isinstance(saved["images"], str):
            raise RunError(f"{self.path}: not a checkpoint of a training; remove it to train from the start")
        if saved["run"] != run_id:
            raise RunError(f"{self.path}: a checkpoint of {saved['run']}, not of {run_id}; remove it")
        if saved["images"] != self.images:
            raise RunError(
                f"{self.path}: a checkpoint of training on the images {saved['images'][:12]}, not "
                f"{self.images[:12]}; give the folder it was trained on, or remove it to train from the start"
            )
        return saved["state"]
