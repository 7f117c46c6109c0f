"""Readers of the file formats in which data sets are published, one file each."""
