"""The grid engine on an NVIDIA GPU: CUDA kernels and what launches them."""
