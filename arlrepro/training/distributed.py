"""What a training computes on: one process or several, kernels that repeat themselves, memory that is kept."""

import ctypes
import os
import sys

import torch
from lightning_fabric import Fabric


def is_one_of_several() -> bool:
    """Whether `torchrun` started this process."""
    return torch.distributed.is_torchelastic_launched()


def launch(device: torch.device) -> Fabric:
    """Lightning Fabric on a device: this process alone, or together with all that `torchrun` started.

    Args:
        device: the one that this process computes on.
    """
    here, nodes = 1, 1
    if is_one_of_several():
        here = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // here
    alone = here * nodes == 1
    fabric = Fabric(
        accelerator=device.type,
        devices=[device.index or 0] if alone and device.type == "cuda" else here,
        num_nodes=nodes,
        strategy="auto" if alone else "ddp",
        precision="32-true",  # the precision rule is ours, `devices.autocast`: Fabric's rounds the residual stream
    )
    fabric.launch()
    return fabric


def use_deterministic_kernels() -> None:
    """Compute, in this process, by kernels only that give the same bits at every call.

    On a CPU all that training uses is so. On a GPU two things are not, for speed: cuDNN may sum the gradients of a
    convolution's weights by atomic additions, in the order in which they come, and cuBLAS may cut a product in other
    ways when several streams run. Both have a slower form that repeats itself and is used after this call, which
    belongs before anything is computed on the GPU; torch stops with an error where a kernel has no such form.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def keep_freed_memory() -> None:
    """Let glibc keep what a training step frees for the next step; elsewhere than on Linux with glibc, do nothing.

    Reason: glibc hands every large buffer back to the kernel when it is freed, which fills it with zeros, page by page,
    when the next step asks for it again; a seventh of a step on a CPU goes there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        m_trim_threshold, m_top_pad, m_mmap_max = -1, -2, -4  # malloc.h
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
        mallopt(m_top_pad, 64 * 2**20)
