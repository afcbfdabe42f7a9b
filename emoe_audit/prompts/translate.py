"""Captions translated by machine: the Opus-MT models (Tiedemann and Thottingal 2020), through transformers.

A machine's errors are not the fault of the model that is audited, so every row says which model translated it. Beam
search of width 4 without sampling: the same captions give the same translations.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence

import langcodes
import pandas as pd

from emoe_audit.errors import AuditError, MissingPackageError
from emoe_audit.progress import Progress, chunks, silent
from emoe_audit.prompts.join import join_tables
from emoe_audit.prompts.model_folder import ONLY_HERE, WEIGHTS, model_folder
from emoe_audit.prompts.table import UNDETERMINED, PromptTable, table_of
from emoe_audit.prompts.tags import SOURCE_LANGUAGE, TagError, check_language, english_rank, language_name
from emoe_audit.types import RowError

DEFAULT_MODEL = "Helsinki-NLP/opus-mt-{source}-{target}"
BEAMS, BATCH_SIZE = 4, 32
PACKAGES = ("sentencepiece", "sacremoses")
FILES = ("*.json", "*.spm", WEIGHTS)
"""Of a repository on the hub."""
WAY_OUT = (
    'only safetensors are read, never pickle; convert it once where that is safe: python -c "import transformers as t; '
    "[c.from_pretrained('{model}').save_pretrained('FOLDER') for c in (t.MarianMTModel, t.MarianTokenizer)]\", "
    "and give --model FOLDER"
)


def translate(
    table: PromptTable,
    to: Sequence[str],
    *,
    models: Mapping[str, str] | None = None,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    progress: Progress = silent,
) -> PromptTable:
    """Add the captions of a table in other languages, where they are not there yet.

    A caption is translated from its English prompt, else from its first. The new rows have `translation_source`
    `machine: MODEL`; a caption that is too long for a model is left out.

    Args:
        table: Prompts with their languages.
        to: BCP-47 tags.
        models: Hub id, `ID@REVISION` or folder of a Marian model by target language, and under `""` the model of all
            other targets; by default `DEFAULT_MODEL`. One that knows several targets is told which.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: Captions at once.
        progress: Called with stage, done, total.

    Raises:
        AuditError: a tag is none, a prompt has no language, or a model cannot be read; the message says what to do.
        MissingPackageError: a package of the extra `translation` is not installed.
    """
    named = {_tag(tag) if tag else "": model for tag, model in (models or {}).items()}
    targets = list(dict.fromkeys(map(_tag, to)))
    stray = next((tag for tag in named if tag and tag not in targets), None)
    if stray is not None:
        raise AuditError(f"a model is named for {stray!r}, but nothing is translated to it; add it to --to")
    _check_packages()
    done = []
    for target in targets:
        for source, captions in _captions(table.frame, target):
            model = named.get(target) or named.get("") or DEFAULT_MODEL.format(source=_in_models(source), target=target)
            translator = Translator(model, target, device=device)
            done.append(_translated(translator, captions, batch_size, progress))
    return join_tables(table, done)


def models_by_target(named: Sequence[str]) -> dict[str, str]:
    """Models by target language, for `translate`, from texts like `fi=MODEL`, or `MODEL` for all other targets.

    Raises:
        AuditError: two models for one language, or for all others.
    """
    models: dict[str, str] = {}
    for text in named:
        tag, equals, model = text.partition("=")
        target, model = (tag, model) if equals and _is_tag(tag) else ("", text)
        if target in models:
            raise AuditError(f"two models are named for {target or 'all languages'}; write fi=MODEL for each of them")
        models[target] = model
    return models


class Translator:
    """One Marian model and the language it translates to."""

    def __init__(self, model: str, target: str, *, device: str = "auto") -> None:
        """Load a model.

        Args:
            model: A folder, a hub id or `ID@REVISION`.
            target: The language, for a model that knows several.
            device: `auto`, `cpu`, `cuda` or `mps`.

        Raises:
            AuditError: the model cannot be found or read, is no Marian model, or does not know the target.
        """
        from transformers import MarianMTModel, MarianTokenizer
        from transformers.utils import logging

        from emoe_audit.experts.devices import resolve_device
        from emoe_audit.experts.part_files import check_part
        from emoe_audit.experts.sources import TEXT_ENCODER_STEM

        self.model, self.target = model, target
        folder = model_folder(model, FILES, WAY_OUT)
        logging.disable_progress_bar()
        self._device = resolve_device(device)
        try:
            check_part(folder, TEXT_ENCODER_STEM)
            self._tokenizer = MarianTokenizer.from_pretrained(folder, **ONLY_HERE)
            self._tokenizer("a")  # some of its configuration is first looked at here
            network, info = MarianMTModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **ONLY_HERE
            )
        except Exception as error:  # transformers and tokenizers raise what they like for a broken file
            raise AuditError(f"{model}: not a Marian model that can be read: {error}") from error
        if info["missing_keys"]:
            raise AuditError(f"{model}: weights are missing, as {min(info['missing_keys'])}; fetch or convert it again")
        self._network = network.to(self._device).eval()
        self._prefix = self._target_code()

    def too_long(self, text: str) -> bool:
        """Whether the model would cut a text."""
        limit = min(self._tokenizer.model_max_length, self._network.config.max_position_embeddings)
        return len(self._tokenizer(self._prefix + text)["input_ids"]) > limit

    def translate(self, texts: Sequence[str]) -> list[str]:
        """The translations, in order; beam search, deterministic."""
        import torch

        batch = self._tokenizer([self._prefix + text for text in texts], return_tensors="pt", padding=True)
        with torch.inference_mode():
            found = self._network.generate(**batch.to(self._device), num_beams=BEAMS, do_sample=False)
        return [text.strip() for text in self._tokenizer.batch_decode(found, skip_special_tokens=True)]

    def _target_code(self) -> str:
        """What stands before a text to tell a model of several targets which: `>>fra<< `."""
        known = {code.strip("<>"): code for code in self._tokenizer.supported_language_codes}
        if not known:
            return ""
        language = langcodes.Language.get(self.target)
        names = [self.target.replace("-", "_"), str(language.language), str(language.to_alpha3())]
        fitting = [code for name, code in known.items() if name.casefold() in {own.casefold() for own in names}]
        if not fitting:
            shown = ", ".join(sorted(known)[:12])
            raise AuditError(
                f"{self.model}: does not translate to {self.target} ({language_name(self.target)}), but to {shown}; "
                f"name another model: --model {self.target}=MODEL"
            )
        return f"{fitting[0]} "


def _translated(translator: Translator, captions: pd.DataFrame, batch_size: int, progress: Progress) -> PromptTable:
    """The translations of some rows, with what was left out."""
    stage, source = f"translating to {translator.target}", f"machine: {translator.model}"
    rows, errors = [], []
    progress(stage, 0, len(captions))
    done = 0
    for part in chunks(captions.to_dict("records"), batch_size):
        fitting = [row for row in part if not translator.too_long(row["prompt"])]
        texts = translator.translate([row["prompt"] for row in fitting]) if fitting else []
        for row, text in zip(fitting, texts, strict=True):
            if text:
                rows.append({"source_id": row["source_id"], "prompt": text})
            else:
                errors.append(_left_out(row, source, "its translation is empty"))
        errors += [_left_out(row, source, "it is too long for the model") for row in part if row not in fitting]
        done += len(part)
        progress(stage, done, len(captions))
    frame = pd.DataFrame(rows, columns=["source_id", "prompt"]).assign(
        prompt_id=lambda own: own["source_id"] + "-" + translator.target,
        language=translator.target,
        region=None,
        translation_source=source,
    )
    return table_of(frame, source, tuple(errors))


def _captions(frame: pd.DataFrame, target: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The prompts to translate, by their language: one of each caption that has none in the target."""
    done = set(frame.loc[frame["language"] == target, "source_id"])
    english_first = frame.assign(_rank=frame["language"].map(english_rank)).sort_values("_rank", kind="stable")
    chosen = english_first.drop_duplicates("source_id").sort_index()
    chosen = chosen.loc[~chosen["source_id"].isin(done), ["prompt_id", "source_id", "prompt", "language"]]
    unknown = chosen[chosen["language"] == UNDETERMINED]
    if len(unknown):
        raise AuditError(f"prompt {unknown.iloc[0]['prompt_id']} has no language; add a column 'language' to the table")
    yield from ((str(language), rows) for language, rows in chosen.groupby("language"))


def _in_models(source: str) -> str:
    """The source language as Opus-MT calls it, who has one English."""
    return SOURCE_LANGUAGE if english_rank(source) < 2 else source


def _left_out(row: Mapping[str, str], source: str, reason: str) -> RowError:
    prompt_id = row["prompt_id"]
    return RowError(stage="read", message=f"{source}: {prompt_id} is left out: {reason}", prompt_id=prompt_id)


def _tag(tag: str) -> str:
    try:
        return check_language(tag.strip())
    except TagError as error:
        raise AuditError(str(error)) from error


def _is_tag(text: str) -> bool:
    try:
        _tag(text)
    except AuditError:
        return False
    return True


def _check_packages() -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"translation needs {' and '.join(missing)}; install it: pip install 'emoe-audit[translation]'"
        )
