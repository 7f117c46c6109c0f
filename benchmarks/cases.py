"""All benchmark cases, by name."""

from __future__ import annotations

import images
import long_trial
import sparse
import words
import yin_yang

CASES = {
    case.name: case
    for subject in (yin_yang, images, words, long_trial, sparse)
    for case in subject.CASES
}
