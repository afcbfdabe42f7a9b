"""What the probes say of the translation score, from readings of the text encoder alone.

A text has the distance to the caption that it is nearest to, whichever that is: so another real caption, which finds
its own translations, is told from a text that finds none. And a caption must be nearer to its own translations than to
those of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.readings import Readings
from emoe_audit.validity.evidence import ProbeResult, compare, higher, weigh
from emoe_audit.validity.gallery import Gallery, nearest
from emoe_audit.validity.probes import Pair, Swap, make_swaps
from emoe_audit.validity.reader import TextReader

N_SWAPS = 10
"""In each language."""


def check_translations(
    reader: TextReader, calibration: Calibration, captions: pd.DataFrame, pairs: Sequence[Pair]
) -> tuple[ProbeResult, ...]:
    """One result a probe.

    Args:
        reader: The text encoder.
        calibration: What its languages are worth.
        captions: In small letters, a row per caption and a column per language.
        pairs: Made from them.
    """
    long = captions.melt(ignore_index=False, var_name="language", value_name="text")
    texts = long["text"].to_list()
    readings = Readings(vectors=reader.read(texts), languages=long["language"].to_list(), sources=long.index.to_list())
    gallery = Gallery.of(calibration, readings, reader.ids(texts), reader.n_tokens)
    languages = [pair.language for pair in pairs]
    known, strange, placebo = (
        nearest(distances(gallery, reader, [pair.texts[half] for pair in pairs], languages)) for half in range(3)
    )
    swaps = make_swaps(captions, reader.count, n_per_language=N_SWAPS)
    return (*compare(pairs, known, strange, placebo), *swapped(gallery, reader, captions, swaps))


def swapped(
    gallery: Gallery, reader: TextReader, captions: pd.DataFrame, swaps: Sequence[Swap]
) -> tuple[ProbeResult, ...]:
    """How often a caption is farther from another's translations than from its own; beside it, the placebo's text."""
    languages = [swap.language for swap in swaps]
    places = gallery.captions.get_indexer(captions.index)
    own, other = places[[swap.known for swap in swaps]], places[[swap.other for swap in swaps]]
    rows = np.arange(len(swaps))

    def farther(of: Sequence[int]) -> np.ndarray:
        texts = [str(captions[language].iloc[row]) for language, row in zip(languages, of, strict=True)]
        found = distances(gallery, reader, texts, languages)
        return higher(found[rows, own], found[rows, other])

    strange, placebo = farther([swap.known for swap in swaps]), farther([swap.placebo for swap in swaps])
    frame = pd.DataFrame({"probe": "own translations", "language": languages, "strange": strange, "placebo": placebo})
    return weigh(frame)


def distances(gallery: Gallery, reader: TextReader, texts: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    """Of each text to each caption, `[text, caption]`."""
    return gallery.distances(reader.read(texts), languages, reader.ids(texts))
