"""Training whole epochs on the GPU, where all arrays stay."""
