"""Which experts inside one checkpoint the languages use, and whether they use other ones.

The distribution of a language in a layer is the mean over its prompts of the shares of tokens that use each expert,
scaled to sum 1. The divergence of a language is that of Kullback and Leibler from the mean distribution M of all
languages, in bits; its mean over languages is their Jensen-Shannon divergence (Lin 1991), 0 where all use the same
experts, log2 of their number at most.

Prompts of one language differ too, so the divergence is above 0 even where language does not matter. It is set against
its values under labels of languages permuted among the translations of each caption: what is said stays as it is in
every permutation, only who said it changes. p = (1 + count) / (1 + n), which is never 0 (Phipson and Smyth 2010), then
adjusted after Benjamini and Yekutieli 2001, since the tests share prompts: for the number of layers where it is of all
languages, for the number of languages and layers where it is of one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from emoe_audit.analysis.multiplicity import adjusted

N_PERMUTATIONS = 999
ROUNDING = 1e-12
"""Divergences that differ by less are the same: the order of a sum changes how it is rounded."""
ALL_LANGUAGES = ""
USE_COLUMNS = ["layer", "expert", "language", "share"]
DIVERGENCE_COLUMNS = [
    *("layer", "language", "n_languages", "n_sources"),
    *("divergence", "expected", "p", "p_by"),
]


def expert_use(use: pd.DataFrame) -> pd.DataFrame:
    """The heat map: `layer, expert, language` and `share`, the mean share of a prompt's tokens that use the expert.

    Args:
        use: A row per prompt, layer and expert: `source_id, language, layer, expert, share`.
    """
    table = use.groupby(["layer", "expert", "language"], sort=True, observed=True)["share"].mean().reset_index()
    return table.reindex(columns=USE_COLUMNS)


def expert_use_divergence(use: pd.DataFrame, *, n_permutations: int = N_PERMUTATIONS, seed: int = 0) -> pd.DataFrame:
    """How far apart languages are in each layer, and each of them from all.

    Only captions that come in every language take part.

    Args:
        use: As in `expert_use`.
        n_permutations: `n` above.
        seed: Of the permutations, which are the same in every layer.

    Returns:
        `layer`, `language` (empty in the row of all languages, which is a layer's first), `n_languages`, `n_sources`
        (captions that took part), `divergence` in bits, `expected`, its mean under permuted labels, `p`, and `p_by`,
        adjusted. NaN where there are fewer than two languages or no common caption.
    """
    tables = [_of_layer(str(layer), own, n_permutations, seed) for layer, own in use.groupby("layer", sort=True)]
    if not tables:
        return pd.DataFrame(columns=DIVERGENCE_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    is_whole = table["language"] == ALL_LANGUAGES
    adjusted_p = table.groupby(is_whole)["p"].transform(lambda own: adjusted(own, "by"))
    return table.assign(p_by=adjusted_p).reindex(columns=DIVERGENCE_COLUMNS)


def divergences(shares: np.ndarray) -> np.ndarray:
    """Divergence from the mean in bits by language; the mean of all is put first.

    Args:
        shares: `[..., language, expert]`, of any positive sum.

    Returns:
        `[..., 1 + language]`.
    """
    each = shares / shares.sum(axis=-1, keepdims=True)
    own = rel_entr(each, each.mean(axis=-2, keepdims=True)).sum(axis=-1) / np.log(2)
    return np.concatenate([own.mean(axis=-1, keepdims=True), own], axis=-1)


def _of_layer(layer: str, use: pd.DataFrame, n_permutations: int, seed: int) -> pd.DataFrame:
    languages, grid = _grid(use)
    n_sources, n_languages = grid.shape[:2]
    names = {"layer": layer, "language": [ALL_LANGUAGES, *languages]}
    counts = {"n_languages": n_languages, "n_sources": n_sources}
    if n_languages < 2 or not n_sources:
        return pd.DataFrame({**names, **counts, "divergence": np.nan, "expected": np.nan, "p": np.nan})
    observed, rng = divergences(grid.mean(axis=0)), np.random.default_rng(seed)
    count, total = np.zeros(len(observed)), np.zeros(len(observed))
    for _ in range(n_permutations):
        order = rng.permuted(np.broadcast_to(np.arange(n_languages), (n_sources, n_languages)), axis=1)
        drawn = divergences(np.take_along_axis(grid, order[:, :, None], axis=1).mean(axis=0))
        count += drawn >= observed - ROUNDING
        total += drawn
    figures = {"divergence": observed, "expected": total / n_permutations, "p": (1 + count) / (1 + n_permutations)}
    return pd.DataFrame({**names, **counts, **figures})


def _grid(use: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Languages, and `[caption, language, expert]` of the captions that come in all of them."""
    table = use.pivot_table(index=["source_id", "language"], columns="expert", values="share", aggfunc="mean")
    languages = sorted(table.index.get_level_values("language").unique())
    found = table.index.get_level_values("source_id").value_counts()
    whole = sorted(found.index[found == len(languages)])
    rows = table.loc[table.index.get_level_values("source_id").isin(whole)].sort_index()
    return languages, rows.to_numpy(dtype=np.float64).reshape(len(whole), len(languages), table.shape[1])
