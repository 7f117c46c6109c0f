"""Cells: the single runs of a study, and how a process on any machine runs one.

``cell`` says what a cell is, ``folder`` which files it has, ``plan`` how a run is carried out,
``subjects`` finds what runs, ``experiments`` and ``functions`` run it, ``measures`` has its
results, ``engines`` describes engines, ``stopping`` stops runs, and ``running`` puts everything
together.
"""
