"""How programs are told which GPUs they may use."""

from __future__ import annotations

from exaworks.tasks.scheduler import Placement

__all__ = ["GPU_VARIABLES", "gpu_variables"]

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""The variables that libraries of NVIDIA, AMD and Intel read."""


def gpu_variables(placement: Placement) -> dict[str, str]:
    """The variables for a task: its GPUs, or none."""
    names = ",".join(gpu for rank in placement.ranks for gpu in rank.gpus)
    return dict.fromkeys(GPU_VARIABLES, names)
