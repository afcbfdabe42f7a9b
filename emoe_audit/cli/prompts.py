"""The commands about prompt tables: check, make, join and translate them, and plan how many are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emoe_audit.cli.console import EXIT_ROW_ERRORS, print_result, progress_of, table_warnings, warn
from emoe_audit.cli.kinds import SEED, SHARE, FiniteRange, Target
from emoe_audit.cli.options import ensemble_option, option, output_options
from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.tags import TagError, check_language

if TYPE_CHECKING:
    import pandas as pd

    from emoe_audit.prompts.table import PromptTable

out_option = option("--out", type=Target(), required=True, show_default=False, help="CSV file.")


class Listed(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has no parameter here
    """Values with commas between them: `fi,de`."""

    name = "list"

    def convert(self, value: str | list[str], param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """The values without spaces around them."""
        if isinstance(value, list):
            return value
        listed = [part.strip() for part in value.split(",") if part.strip()]
        if not listed:
            self.fail(f"{value!r} lists nothing; write it like fi,de", param, ctx)
        return listed


@click.group()
def prompts() -> None:
    """Make and check prompt tables."""


@prompts.command("check")
@click.argument("table", type=click.Path(path_type=Path))
@option(
    "--encoder",
    default=None,
    show_default="none",
    help="Hub id, ID@REVISION or folder of a multilingual sentence encoder, which tells wrong translations.",
)
@option("--device", default="auto", help="auto, cpu, cuda or mps.")
@output_options
def check_prompts(table: Path, encoder: str | None, device: str, as_json: bool, quiet: bool) -> int:
    """Read a prompt table and say what is wrong with it, and where a language tag or a translation looks wrong."""
    from emoe_audit.prompts.language_check import language_warnings
    from emoe_audit.prompts.read import read_prompts
    from emoe_audit.types import ImageConfig

    read = read_prompts(table)
    for error in read.row_errors:
        click.echo(error.message, err=True)
    warnings = language_warnings(read.parts)
    warn(*table_warnings(read, ImageConfig().n_images), *warnings)
    counts = {"prompts": read.n_prompts, "left_out": len(read.row_errors), "language_warnings": len(warnings)}
    if encoder is not None:
        counts["translation_warnings"] = _warn_of_translations(read.frame, encoder, device, quiet)
    print_result(counts, as_json)
    return EXIT_ROW_ERRORS if read.row_errors else 0


@prompts.command("croissant")
@click.argument("table", type=click.Path(path_type=Path))
@option("--out", type=Target(), required=True, show_default=False, help="JSON file.")
@option("--license", default=None, show_default="none", help="Of the table, as a name or an address.")
@output_options
def croissant_prompts(table: Path, out: Path, license: str | None, as_json: bool, quiet: bool) -> int:
    """Describe a prompt table so that others find and load it, as Croissant 1.1."""
    from emoe_audit.prompts.read import read_prompts
    from emoe_audit.report.croissant import describe_table

    print_result({"file": str(describe_table(read_prompts(table), table, out, license))}, as_json)
    return 0


def _warn_of_translations(frame: pd.DataFrame, encoder: str, device: str, quiet: bool) -> int:
    """Name the prompts that an encoder reads as another caption, and the languages that it cannot judge; how many."""
    from functools import partial

    from emoe_audit.prompts.sentence_encoder import SentenceEncoder
    from emoe_audit.prompts.translation_check import translation_faults

    read = SentenceEncoder(encoder, device=device)
    found = translation_faults(frame, partial(read.encode, progress=progress_of(quiet)))
    warn(
        *(
            f"{row.prompt_id} ({row.language}): reads as a translation of {row.read_as}, not of {row.source_id}"
            for row in found.rows.itertuples()
        )
    )
    if found.not_judged:
        warn(
            f"not judged by {encoder}, which reads them too little, or there are too few captions: "
            f"{', '.join(found.not_judged)}"
        )
    return len(found.rows)


@prompts.command("emoji")
@ensemble_option
@option("--concepts", type=click.IntRange(1), default=100, help="Captions to draw.")
@option("--seed", type=SEED, default=0, help="Of the draw.")
@out_option
def emoji_prompts(ensemble: str, concepts: int, seed: int, out: Path) -> int:
    """Write the prompts that an ensemble brings as a CSV table."""
    from emoe_audit.experts.spec import load_spec
    from emoe_audit.prompts.emoji import default_prompts

    return _written(default_prompts(load_spec(ensemble), n_concepts=concepts, seed=seed), out)


@prompts.command("coco")
@click.argument("captions", type=click.Path(path_type=Path))
@option("--images", type=click.IntRange(1), default=None, show_default="all", help="Images to draw.")
@click.option("--all-captions", is_flag=True, help="Every caption of an image, not one in each language.")
@option("--language", default="en", help="Of captions that do not say theirs (BCP-47).")
@option("--seed", type=SEED, default=0, help="Of the draw.")
@out_option
def coco_prompts(captions: Path, images: int | None, all_captions: bool, language: str, seed: int, out: Path) -> int:
    """Write a sample of a COCO captions file as a CSV table."""
    from emoe_audit.prompts.coco import sample_coco

    return _written(
        sample_coco(captions, n_images=images, all_captions=all_captions, language=language, seed=seed), out
    )


@prompts.command("xm3600")
@click.argument("captions", type=click.Path(path_type=Path))
@out_option
def xm3600_prompts(captions: Path, out: Path) -> int:
    """Write the captions of Crossmodal-3600 (captions.jsonl) as a CSV table, joined by image."""
    from emoe_audit.prompts.join import read_xm3600

    return _written(read_xm3600(captions), out)


@prompts.command("regions")
@click.argument("templates", required=False, type=click.Path(path_type=Path))
@option("--countries", type=Listed(), default=None, show_default="all", help="ISO 3166 alpha-2 codes, as DE,FR.")
@out_option
def regions_prompts(templates: Path | None, countries: list[str] | None, out: Path) -> int:
    """Write templates x nouns x countries as a CSV table, each country named in the prompt's language.

    TEMPLATES is a CSV table with a column for each language; by default the one that ships.
    """
    from emoe_audit.prompts.regions import read_templates, region_prompts
    from emoe_audit.prompts.shipped import shipped_prompts

    table = templates or shipped_prompts() / "templates" / "places.csv"
    return _written(region_prompts(read_templates(table), countries), out)


@prompts.command("join")
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("translations", nargs=-1, type=click.Path(path_type=Path))
@out_option
def join_prompts(table: Path, translations: tuple[Path, ...], out: Path) -> int:
    """Write a prompt table and its translations as one CSV table.

    TRANSLATIONS are tables with `source_id`, `language` and `prompt`, tables with a column for each language, or
    captions of the same images in Crossmodal-3600's format. TABLE alone may have a column for each language too.
    """
    from emoe_audit.prompts.join import join_translations

    return _written(join_translations(table, translations), out)


class OfLanguage(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has no parameter here
    """A language and a file: `de=train.de`."""

    name = "language=file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """The tag and the path."""
        if isinstance(value, tuple):
            return value
        language, is_named, file = str(value).partition("=")
        try:
            tag = check_language(language.strip()) if is_named and file else ""
        except TagError as error:
            self.fail(str(error), param, ctx)
        if not tag:
            self.fail(f"{value!r:.60} names no language; write it like de=train.de", param, ctx)
        return tag, Path(file)


@prompts.command("parallel")
@click.argument("files", nargs=-1, required=True, metavar="LANGUAGE=FILE...", type=OfLanguage())
@option("--by", default=None, show_default="lines of texts", help="Column of tables that joins their rows, as name.")
@out_option
def parallel_prompts(files: tuple[tuple[str, Path], ...], by: str | None, out: Path) -> int:
    """Write captions that lie in one file a language as one CSV table.

    Files are tables with `prompt` and a column that joins their rows (MAGBIG: --by name), or texts with a caption a
    line (Multi30k). The first file's captions are the source of the others.
    """
    from emoe_audit.prompts.parallel import join_files

    return _written(join_files(files, by), out)


@prompts.command("translate")
@click.argument("table", type=click.Path(path_type=Path))
@option("--to", type=Listed(), required=True, show_default=False, help="Languages (BCP-47), as fi,de.")
@option(
    "--model",
    multiple=True,
    show_default="Helsinki-NLP/opus-mt-SOURCE-TARGET",
    help="Hub id, ID@REVISION or folder of a Marian model; fi=MODEL for one language. Can be given again.",
)
@option("--batch-size", type=click.IntRange(1), default=32, help="Captions at once.")
@option("--device", default="auto", help="auto, cpu, cuda or mps.")
@out_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def translate_prompts(
    table: Path, to: list[str], model: tuple[str, ...], batch_size: int, device: str, out: Path, quiet: bool
) -> int:
    """Write a prompt table with its captions translated by machine, each row marked as such."""
    from emoe_audit.prompts.read import read_prompts
    from emoe_audit.prompts.translate import models_by_target, translate

    translated = translate(
        read_prompts(table),
        to,
        models=models_by_target(model),
        device=device,
        batch_size=batch_size,
        progress=progress_of(quiet),
    )
    return _written(translated, out)


@prompts.command("plan")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@option("--measure", default="clip_cosine", help="In which the gap is to be shown.")
@option("--by", default="language", help="Group column of the prompts.")
@option("--gap", type=FiniteRange(0, min_open=True), required=True, show_default=False, help="To be found.")
@option("--reference", default=None, show_default="the others", help="Group that the others are compared with.")
@option("--power", type=SHARE, default=0.8, help="Chance to find it.")
@option("--alpha", type=SHARE, default=0.05, help="Of all tests.")
@output_options
def plan_prompts(
    run_folder: Path,
    measure: str,
    by: str,
    gap: float,
    reference: str | None,
    power: float,
    alpha: float,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say from a pilot run how many captions show a gap, and what they cost."""
    from emoe_audit.decisions.pilot import plan_captions
    from emoe_audit.runs.store import RunStore

    plan = plan_captions(RunStore.open(run_folder), measure, by, gap, reference=reference, power=power, alpha=alpha)
    print_result(plan.to_json(), as_json)
    return 0


def _written(table: PromptTable, out: Path) -> int:
    """Write a table, say what was left out, and give the exit code."""
    from emoe_audit.prompts.table import write_csv

    try:
        write_csv(table, out)
    except OSError as error:
        raise PromptTableError(f"{out}: cannot be written: {error.strerror}") from error
    for left_out in table.row_errors:
        click.echo(left_out.message, err=True)
    warn(*table.warnings)
    click.echo(out)
    return EXIT_ROW_ERRORS if table.row_errors else 0
