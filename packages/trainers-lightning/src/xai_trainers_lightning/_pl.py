"""PyTorch Lightning; its torchmetrics imports torchvision, which fails beside a CPU-only torch."""

from __future__ import annotations

from xai_core.engine.torchvision_shim import ensure_torchvision

ensure_torchvision()
import pytorch_lightning as pl  # noqa: E402
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment  # noqa: E402
from lightning_fabric.plugins.environments.lightning import LightningEnvironment  # noqa: E402
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment  # noqa: E402
from pytorch_lightning.callbacks import TQDMProgressBar  # noqa: E402
from pytorch_lightning.strategies import DDPStrategy  # noqa: E402

__all__ = ["ClusterEnvironment", "DDPStrategy", "LightningEnvironment", "SLURMEnvironment", "TQDMProgressBar", "pl"]
