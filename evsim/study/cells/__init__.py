"""Cells: the single runs of a study, and how a process on any machine runs one.

``cell`` says what a cell is, ``folder`` which files it has, ``subjects`` what runs in it,
``engines`` on what, ``stopping`` how it is told to stop, and ``running`` puts them together.
"""
