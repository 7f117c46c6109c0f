"""Networks as PyTorch modules, with exact gradients of everything that is learned.

``Module`` is a ``torch.nn.Module`` whose parameters are those of a network.  It runs on one of
evsim's engines, and its backward pass is EventProp.  ``collate`` joins the samples of a DataLoader.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError(
        'evsim.torch needs PyTorch, which is not installed: pip install "evsim[torch]"'
    ) from error

from evsim.torch.collating import collate
from evsim.torch.module import Module

__all__ = ["Module", "collate"]
