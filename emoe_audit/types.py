"""The dataclasses that cross module borders. Nothing here imports torch or pandas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Assembly = Literal["shared_trunk", "independent"]
MoeLayers = Literal["attn", "ff", "all"]
Dtype = Literal["float32", "bfloat16", "float16"]
Stage = Literal["read", "score", "image"]
SafetyPolicy = Literal["off", "flag", "blank"]
CheckPolicy = Literal["once", "again"]
SplitParts = Literal["unet", "unet+text"]
TextEncoders = Literal["base", "own"]
MIXTURE = "mixture"
"""What draws where all experts do, so no expert has this name."""
SET_ASIDE = " (yours)"
"""Ends the name of a column of a prompt table whose own name the run needs; it is not grouped by."""


@dataclass(frozen=True, kw_only=True)
class ExpertSpec:
    """Where one expert's weights come from."""

    name: str
    """No two experts of an ensemble have the same."""
    source: str
    """A hub id (`org/name`), a folder (pipeline, UNet, or only what differs from the base) or a `.safetensors` file."""
    revision: str | None = None
    """A branch, tag or commit, where the source is a hub id."""
    loras: tuple[str, ...] = ()
    """LoRA files or hub ids laid over the source, in this order."""
    segmoe_expert: int | None = None
    """Which expert of a SegMoE folder, where the source is one."""


@dataclass(frozen=True, kw_only=True)
class EmergentSpec:
    """How the experts of an ensemble are made of one checkpoint; see `emoe_audit.experts.emergent`."""

    clusters: str
    """The safetensors file of the clusters of its feed-forwards."""
    n_clusters: int
    """Clusters of each layer."""
    top_k: int
    """Of these that a token keeps."""
    seed: int = 0
    """Of the experts' gates, and of the clusters when they are made again."""
    what: SplitParts = "unet"
    """What is split."""


@dataclass(frozen=True, kw_only=True)
class GatePrompts:
    """What one expert is good at, and what it avoids: its gate vectors are made from these."""

    positive: str = ""
    """What it is good at."""
    negative: str = ""
    """What it avoids."""


@dataclass(frozen=True, kw_only=True)
class MixtureSpec:
    """How the experts of a shared trunk draw together; see `emoe_audit.mixture`."""

    top_k: int = 2
    """Experts that are mixed in a layer."""
    prompts: tuple[GatePrompts, ...] = ()
    """One per expert; none: the empty prompt for each."""


@dataclass(frozen=True, kw_only=True)
class EnsembleSpec:
    """Which experts are set against each other, and how they are put together."""

    name: str
    """As runs and reports call it."""
    base: ExpertSpec
    """Gives tokenizer, text encoder, scheduler, VAE, and the trunk when the assembly shares one."""
    experts: tuple[ExpertSpec, ...]
    """At least two, to disagree; none of a model of which images alone are known, see `images_alone`."""
    assembly: Assembly = "independent"
    """`shared_trunk`, SegMoE's way: the experts' own are `moe_layers`; `independent`: each keeps its whole UNet."""
    moe_layers: MoeLayers = "all"
    """Which layers belong to the experts under `shared_trunk`; everything else is the base's."""
    split: int = 0
    """The down block from which on experts go their own way; what comes before is the base's."""
    top_k: int | None = None
    """Experts that a prompt is routed to behind the first attention of a path (a gated path); None: its own alone."""
    mixture: MixtureSpec | None = None
    """How the experts draw together, where that is not to be as usual."""
    vae: str | None = None
    """The autoencoder that draws, a folder, safetensors file or hub id, where it is not the base's."""
    judge: str | None = None
    """The open_clip model that measures images: `local-dir:FOLDER`, `hf-hub:ORG/NAME` or `MODEL/PRETRAINED`."""
    captions: str | None = None
    """A COCO captions file from which the default prompts are drawn."""
    training_coverage: str | None = None
    """A CSV of what the ensemble was trained on, where that is known: a row per group, with `by, group, coverage`."""
    text_encoders: TextEncoders = "base"
    """Whose text states an expert is given: the base's, as in SegMoE, or those of the text encoders that it brings."""
    clip_skip: int | None = None
    """Layers at the end of the text encoders that are left out, as diffusers counts them: 1 is called 2 elsewhere."""
    published: str | None = None
    """The public text encoder that the base's is, or was fine-tuned from, as its open_clip model is called."""
    emergent: EmergentSpec | None = None
    """Where the experts are made of one checkpoint, which is then the source of each of them; None: they are not."""


@dataclass(frozen=True, kw_only=True)
class PrefixChoice:
    """Why a run asks a part of its ensemble; see `emoe_audit.elastic`."""

    asked: str
    """The option that it was chosen by, with its value."""
    score: str
    """The score whose fidelity is meant."""
    fidelity: float
    """Spearman's rho of that score with the one of the whole ensemble under all noises, over other prompts."""
    low: float
    """Lower end of its 95% interval."""
    high: float
    """Upper end."""
    cost: float
    """Floating-point operations, as a share of those of the whole."""
    n_experts: int
    """Of the whole."""
    n_noise: int
    """Of the whole."""
    order_hash: str
    """SHA-256 of the order that this is a prefix of."""
    weights_hash: str
    """SHA-256 over the weights that it was measured with."""

    def to_text(self) -> str:
        """What it is worth, for people."""
        if self.low == self.high == 1:
            return f"its {self.score} is that of the whole"
        return (
            f"its {self.score} ranks other prompts as that of the whole does, Spearman {self.fidelity:.3f} "
            f"({self.low:.3f} to {self.high:.3f})"
        )


@dataclass(frozen=True, kw_only=True)
class ScoringConfig:
    """What a score depends on (the first block), and what it only runs on (the second)."""

    seed: int = 0
    """Of the noises."""
    n_noise: int = 3
    """Noises to average over; 0: prompts are read by the text encoder alone, and no expert is asked."""
    experts: tuple[str, ...] | None = None
    """Those of the ensemble's that are asked, by name; None: all. Without noises none is."""
    num_inference_steps: int = 50
    """Of which the first is read."""
    dtype: Dtype | Literal["auto"] = "float32"
    """`auto` is settled when a run starts: the fastest on the device, by measurement."""
    both_halves: bool = False
    """Score the unconditional half of the classifier-free pair as well, as the published code does."""

    batch_size: int | None = None
    """None: found while prompts are scored."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    check_pairs: int = 3
    """Pairs of each probe in each language in the validity check; 0 leaves it out."""
    check: CheckPolicy = "once"
    """`once` takes what an earlier run of the same ensemble and settings found, `again` makes the check anew."""
    memory_budget: int | None = None
    """Bytes for weights, states and features; an ensemble that needs more is streamed, one or two experts at a time."""
    prefix: PrefixChoice | None = None
    """Why a part of the ensemble is asked, where it was chosen for what it costs."""


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How images are made for the quality measures."""

    n_images: int = 320
    """At most this many in a run: whole concepts, so that every language is drawn for the same ones."""
    num_inference_steps: int = 20
    guidance_scale: float = 3.0
    seed: int = 0
    expert: str | None = None
    """The expert that draws, or `mixture`; None is the base, of a folder that SegMoE saved the mixture."""
    lossy: bool = False
    """Whether a mixture draws by the experts that fit into `memory_budget` alone, so that images depend on that."""
    per_prompt: int = 1
    """Images of a prompt, each from a seed of its own; what is measured of them is averaged."""
    brought: str | None = None
    """The folder of images that were made elsewhere; where there is one, none is drawn."""
    reference_images: str | None = None
    """The folder of the real images that the prompt table names, which the judge is tested on."""
    safety_checker: SafetyPolicy = "off"
    """`off` does not load the pipeline's own, `flag` records what it flags, `blank` blanks that and judges it not."""

    batch_size: int = 32
    device: str = "auto"
    memory_budget: int | None = None
    """Bytes for the weights that draw a mixture; the experts' layers lie in files as far as they take more."""


@dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
    """What the statistics of a run rest on. No score and no image depends on it: a run can be analyzed again."""

    min_sources: int = 5
    """Captions without which the numbers of a group are not given."""
    margins: Mapping[str, float] = field(default_factory=dict)
    """The smallest gap that matters by measure, in its units; else a fifth of its standard deviation."""
    target_risk: float | None = None
    """Share of misread prompts that may be left among those accepted; None: half the run's own."""
    n_boot: int = 1000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """On which Ray cluster a run is worked on, and by whom. No score and no image depends on it."""

    address: str = "auto"
    """Of the head, `HOST:PORT`; `auto` is the cluster that runs here, else one is started on this machine."""
    workers: int | None = None
    """None: all that there is room for."""
    gpus_per_worker: float | None = None
    """0.5 lets two share one; None: workers use no GPU."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One row of a prompt table."""

    prompt_id: str
    """Names the row; where a table has none, `row-` and the line."""
    prompt: str
    """What the model is given, exactly as it stands."""
    language: str = "und"
    """BCP-47; `und` where it is not known."""
    region: str | None = None
    """ISO 3166 alpha-2 or UN M49."""
    source_id: str = ""
    """Joins the translations of one caption; they are one cluster in every statistic. By default `prompt_id`."""


@dataclass(frozen=True, kw_only=True)
class RowError:
    """One row that was left out, and why. A bad row never stops a batch."""

    stage: Stage
    message: str
    prompt_id: str | None = None
    line: int | None = None
    column: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunManifest:
    """What a run was made from: enough to make it again."""

    ensemble: EnsembleSpec
    scoring: ScoringConfig
    images: ImageConfig
    ensemble_hash: str
    """SHA-256 over the weights that take part in a score."""
    base_hash: str = ""
    """The same without the experts, on which the keys of rows rest; empty where an engine of somebody's own scores."""
    expert_hashes: tuple[str, ...] = ()
    """Of each expert that is asked."""
    quality_hash: str
    """SHA-256 over what draws and what judges; empty when no image is made."""
    candidates_hash: str = ""
    """SHA-256 of the captions that a source caption is ranked among; empty when no image is made."""
    n_candidates: int = 0
    """How many these are."""
    prompts_hash: str
    prompts_source: str
    command: str
    """The command line that makes this run again."""
    sources: dict[str, str] = field(default_factory=dict)
    """The commit of every checkpoint that came from the hub, by hub id."""
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""
    complete: bool = False
    files_sha256: str | None = None
    """SHA-256 of `files.parquet`, which holds that of every other file of a finished run; runs of before have none."""

    @property
    def is_scored(self) -> bool:
        """Whether there is anything that scores prompts: of a model of which images alone are known there is not."""
        return bool(self.ensemble.experts)

    @property
    def asked(self) -> tuple[str, ...]:
        """The experts that score, by name."""
        named = [expert.name for expert in self.ensemble.experts]
        chosen = named if self.scoring.experts is None else self.scoring.experts
        return tuple(name for name in named if name in chosen) if self.scoring.n_noise else ()
