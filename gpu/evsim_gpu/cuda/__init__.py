"""The grid engine on an NVIDIA GPU, by CUDA kernels that CuPy compiles and launches.

device          CudaDevice, what the engine asks to simulate a batch
gpu             the GPUs of this machine
network         the structure and the parameters of a network, in the GPU's memory
batch           the forward pass and the readouts of a batch
backward        the backward pass of a batch
activity        the results of a batch, as NumPy arrays on the host
launching       how kernels are compiled and launched
kernels         their source; the time loops are in forward.cu and backward.cu
"""
