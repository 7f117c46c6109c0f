"""The command ``evsim certify``: ``command`` carries it out, ``spike_files`` reads input spikes."""

from evsim.cli.certify.command import Certify

__all__ = ["Certify"]
