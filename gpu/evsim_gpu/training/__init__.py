"""Training whole epochs on a GPU, where all arrays stay."""
