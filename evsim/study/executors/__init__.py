"""Executors: where the cells of a study run.

``choice`` decides between them, ``process_pool`` is the built-in one, ``futures`` is for anything
with ``submit``, ``joblib`` for ``joblib.Parallel``.
"""
