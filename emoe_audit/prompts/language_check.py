"""Does a prompt stand in the language that its tag names? Warnings, never corrections.

Prompts are often one to three words long, and nobody can tell the language of those. So all prompts of a tag are judged
together: they are put into chunks, and the tag is doubted where more than `MAJORITY` of the chunks are taken for one
other language, near relatives counted together. A long prompt is judged alone as well. py3langid (after Lui and Baldwin
2012; 139 languages) identifies; of a language that it does not know, the script alone is judged.

Measured on `prompts/cldr-emoji.csv`, 100 captions of one to three words in each of 40 languages: no tag is doubted, nor
in groups of 5, 10 or 20 captions; of 1,555 ways to put the captions of one language under the tag of another that is no
near relative, 1,551 are noticed, with 10 captions 99%, with 5 captions 81%. Of 779 long prompts made of them none is
doubted, under other tags 98% are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import langcodes
import pandas as pd
import regex

from emoe_audit.errors import MissingPackageError
from emoe_audit.prompts.table import UNDETERMINED
from emoe_audit.prompts.tags import language_name

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

CHUNK, MIN_CHUNK, MAX_CHUNKS = 300, 100, 40
"""UTF-8 bytes of a chunk, the fewest that are judged, and chunks of a tag that are looked at."""
MAJORITY, UNLIKELY = 2 / 3, 0.1
"""Share of the chunks that must be taken for one other language, and how probable the tag's may be in each of them."""
LONG_PROMPT, VERY_UNLIKELY = 8, 0.01
"""Words of a prompt that is judged alone, and how probable the language of its tag may be for it to be doubted."""
MIN_LETTERS = 20
"""Of all prompts of a tag, for its script to be judged."""
MOST_LOOKED_AT = 2000
"""Different prompts of a tag: to look at a long one takes a quarter of a millisecond."""
SHOWN = 3
"""Long prompts of a tag that are named."""
NO_LANGUAGE = "zxx"
"""What the identifier calls numbers and names of files."""

RELATIVES = (
    *({"no", "nb", "nn", "da"}, {"hr", "sr", "bs", "sh"}, {"id", "ms"}, {"zh", "cmn", "yue", "wuu"}),
    *({"es", "an", "ext", "gl"}, {"pt", "gl"}, {"it", "lij", "vec"}, {"fr", "wa", "gcf", "gcr"}, {"ht", "gcf", "gcr"}),
    *({"ar", "arz", "ary"}, {"he", "hbo"}, {"el", "grc"}, {"fa", "prs"}, {"ku", "ckb", "sdh"}, {"tl", "fil", "bcl"}),
    *({"xh", "zu"}, {"st", "nso", "tn"}, {"lv", "ltg"}, {"gn", "gug"}, {"qu", "quz"}, {"uz", "uzs"}, {"tt", "ba"}),
    *({"ff", "fuv"}, {"en", "pcm"}, {"rw", "rn"}, {"de", "lb"}, {"mr", "gom"}),
)
"""Languages that are taken for each other in short texts; membership is not handed on from group to group."""
SCRIPTS = (
    *("Latn", "Cyrl", "Arab", "Grek", "Hebr", "Armn", "Geor", "Ethi", "Deva", "Beng", "Guru", "Gujr", "Orya", "Taml"),
    *("Telu", "Knda", "Mlym", "Sinh", "Thai", "Laoo", "Mymr", "Khmr", "Tibt", "Mong", "Hani", "Hira", "Kana", "Hang"),
)
"""Scripts of Unicode that are told apart."""
MADE_OF = {"Jpan": ("Hani", "Hira", "Kana"), "Kore": ("Hang", "Hani"), "Hans": ("Hani",), "Hant": ("Hani",)}
"""The scripts of CLDR that are made of others."""


def language_warnings(parts: Iterable[pd.DataFrame]) -> list[str]:
    """What looks wrong with the language tags of prompts; empty where nothing does. One warning a tag at most.

    Of a tag the first `MOST_LOOKED_AT` different prompts are looked at.

    Args:
        parts: Some prompts at a time, with `prompt_id`, `prompt` and `language`.

    Raises:
        MissingPackageError: py3langid is not installed.
    """
    judged = (_warning(tag, prompts) for tag, prompts in sorted(_looked_at(parts).items()))
    return [warning for warning in judged if warning is not None]


def _looked_at(parts: Iterable[pd.DataFrame]) -> dict[str, dict[str, str]]:
    """The prompts of each tag that are judged, each with its id."""
    found: dict[str, dict[str, str]] = {}
    for part in parts:
        known = part[part["language"] != UNDETERMINED]
        for tag, prompt, prompt_id in zip(known["language"], known["prompt"], known["prompt_id"], strict=True):
            own = found.setdefault(tag, {})
            if len(own) < MOST_LOOKED_AT:
                own.setdefault(prompt, prompt_id)
    return found


def other_script(tag: str, prompts: Sequence[str]) -> str | None:
    """The script (ISO 15924) in which most letters of the prompts are written, where that is not the tag's.

    A tag that names no script means the language's likely one by Unicode CLDR.
    """
    expected = _script_of(tag)
    if expected not in SCRIPTS and expected not in MADE_OF:
        return None
    text = " ".join(prompts)
    n_letters = len(regex.findall(r"\p{L}", text))
    own = sum(_n_letters(script, text) for script in MADE_OF.get(expected, (expected,)))
    if n_letters < MIN_LETTERS or own >= n_letters / 2:
        return None
    return max(SCRIPTS, key=lambda script: _n_letters(script, text))


def other_language(tag: str, prompts: Sequence[str]) -> str | None:
    """The language for which more than `MAJORITY` of the chunks are taken, where that is none near the tag's."""
    if not _is_known(tag):
        return None
    chunks = list(islice(_chunks(prompts), MAX_CHUNKS))
    votes = Counter(language for chunk in chunks if (language := _taken_for(tag, chunk, UNLIKELY)))
    if not votes:
        return None
    first = votes.most_common(1)[0][0]
    agree = sum(n for language, n in votes.items() if language in _near(first))
    return first if agree > MAJORITY * len(chunks) else None


def long_prompt_language(tag: str, prompt: str) -> str | None:
    """The language of a prompt of `LONG_PROMPT` words or more, where that is surely none near the tag's."""
    if len(prompt.split()) < LONG_PROMPT or not _is_known(tag):
        return None
    return _taken_for(tag, prompt, VERY_UNLIKELY)


def _warning(tag: str, ids: Mapping[str, str]) -> str | None:
    """The first that holds of prompts by whose texts their ids are known.

    Another script, another language in most chunks, another language in long prompts.
    """
    prompts = list(ids)
    script = other_script(tag, prompts)
    if script is not None:
        meant = f"{tag.split('-')[0]}-{script}"
        names = _script_name(script), _script_name(_script_of(tag))
        return (
            f"{_named(tag)}: the prompts are in {names[0]} script, not in {names[1]}; if that is meant, write {meant}"
        )
    language = other_language(tag, prompts)
    if language is not None:
        return f"{_named(tag)}: the prompts look like {_named(language)}; check the tag"
    found = [(prompt_id, long_prompt_language(tag, prompt)) for prompt, prompt_id in ids.items()]
    strange = [f"{prompt_id} looks like {_named(language)}" for prompt_id, language in found if language is not None]
    if not strange:
        return None
    more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
    return f"{_named(tag)}: {', '.join(strange[:SHOWN])}{more}; check their tags"


def _chunks(prompts: Sequence[str]) -> Iterator[str]:
    chunk: list[str] = []
    size = 0
    for prompt in prompts:
        chunk.append(prompt)
        size += len(prompt.encode())
        if size >= CHUNK:
            yield ", ".join(chunk)
            chunk, size = [], 0
    if size >= MIN_CHUNK:
        yield ", ".join(chunk)


@cache
def _identifier() -> LanguageIdentifier:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingPackageError(
            "the languages of prompts are checked with py3langid; install it: pip install 'py3langid>=0.4'"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _taken_for(tag: str, text: str, at_most: float) -> str | None:
    """The likeliest language, where the tag's and its relatives have together at most this probability."""
    found = _identifier().rank(text)
    own = sum(probability for language, probability in found if language in _near(tag))
    return found[0][0] if own <= at_most and found[0][0] != NO_LANGUAGE else None


def _is_known(tag: str) -> bool:
    return not _near(tag).isdisjoint(_identifier().labels)


@cache
def _near(tag: str) -> frozenset[str]:
    """The language of a tag with its near relatives."""
    language = str(langcodes.Language.get(tag).language)
    return frozenset({language}.union(*(group for group in RELATIVES if language in group)))


def _named(tag: str) -> str:
    return f"{tag} ({language_name(tag)})"


@cache
def _script_of(tag: str) -> str:
    return str(langcodes.Language.get(tag).maximize().script)


def _script_name(script: str) -> str:
    return str(langcodes.Language.make(script=script).script_name("en"))


def _n_letters(script: str, text: str) -> int:
    return len(_letters(script).findall(text))


@cache
def _letters(script: str) -> regex.Pattern[str]:
    return regex.compile(rf"(?V1)[\p{{L}}&&\p{{Script={script}}}]")
