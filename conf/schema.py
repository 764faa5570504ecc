"""Types and bounds of the config's keys; their values are in the YAML files of this folder.

Each dataclass is the schema of a config group: composing the config fails for an unknown key or a wrong type.
``bounded`` adds the interval of a number; ``mdaf.sweeper.hydra_ext.run_config`` checks it before any work starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass(frozen=True)
class Bounds:
    """The interval of a number; ``None`` leaves a side open, and ``open_low``/``open_high`` exclude the end itself."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low is None or (value > self.low if self.open_low else value >= self.low)
        below = self.high is None or (value < self.high if self.open_high else value <= self.high)
        return above and below

    def __str__(self) -> str:
        if self.high is None:
            return f"{'>' if self.open_low else '>='} {self.low:g}"
        left = "(" if self.open_low else "["
        right = ")" if self.open_high else "]"
        low = "-inf" if self.low is None else f"{self.low:g}"
        return f"a number in {left}{low}, {self.high:g}{right}"


def bounded(
    low: float | None = None, high: float | None = None, *, open_low: bool = False, open_high: bool = False
) -> Any:
    """A mandatory dataclass field whose value, or each of its values, must lie in the given ``Bounds``; null passes."""
    return field(default=MISSING, metadata={"bounds": Bounds(low, high, open_low, open_high)})


def positive() -> Any:
    """A mandatory number that must be above zero."""
    return bounded(0, open_low=True)


@dataclass
class Regularization:
    """The regularization of a run, which a sweep searches."""

    name: str = MISSING
    dropout: float = bounded(0, 1, open_high=True)
    weight_decay: float = bounded(0)
    label_smoothing: float = bounded(0, 0.5)
    embedding_l2: float = bounded(0)
    reinit_embeddings: bool = MISSING


@dataclass
class Training:
    """Settings of the training loop."""

    epochs: int = bounded(1)
    batch_size: int = bounded(1)
    eval_batch_size: int = bounded(1)
    learning_rate: float = positive()
    grad_clip_norm: float | None = positive()
    decay: Literal["coupled", "decoupled"] = MISSING
    embedding_optimizer: Literal["full", "lazy"] = MISSING
    schedule: Literal["constant", "cosine", "plateau"] = MISSING
    warmup_fraction: float = bounded(0, 1, open_high=True)
    plateau_epochs: int = bounded(1)
    plateau_factor: float = bounded(0, 1, open_low=True, open_high=True)
    plateau_lowest_rate: float = bounded(0)
    loss: str = MISSING
    focal_gamma: float = bounded(0)
    positive_weight: float | None = positive()
    monitor: str = MISSING
    patience: int | None = bounded(1)
    ranking_at: list[int] = bounded(1)  # noqa: RUF009  makes a field
    train_sample: int = bounded(1)
    checkpoint_seconds: float | None = bounded(0)
    steps_per_epoch: int | None = bounded(1)


@dataclass
class Guard:
    """What to do about a device that becomes slow or hangs.

    ``factor``    steps that take so many times longer than in the first full epoch
    ``patience``  for so many seconds are a slow-down
    ``hang``      seconds without progress after which the process ends; null: never
    """

    factor: float = bounded(1, open_low=True)
    patience: float = positive()
    action: Literal["warn", "stop", "fallback_cpu"] = MISSING
    hang: float | None = positive()


@dataclass
class Device:
    """The device of a run, and how it is used."""

    name: str = MISSING
    threads: int | None = bounded(1)
    micro_batch: int | None = bounded(1)
    gpus_per_trial: float = bounded(0, 1)
    precision: Literal["fp32", "tf32", "bf16"] = MISSING
    graphs: bool = MISSING
    memory_fraction: float = bounded(0, 1)
    guard: Guard = field(default_factory=Guard)


@dataclass
class Plateau:
    """Ends a sweep after so many trials without an improvement of more than ``epsilon``."""

    trials: int | None = bounded(1)
    epsilon: float = bounded(0)


@dataclass
class Sweep:
    """The study of a job, and when its sweep ends.

    The sweeper sets ``trial``; do not set it by hand.
    """

    storage: str = MISSING
    study: str | None = MISSING
    trial: int | None = MISSING
    objectives: list[str] = MISSING
    artifacts: str | None = MISSING
    workers: int = bounded(1)
    max_failures: int | float | None = bounded(1)
    max_deaths: int | float = bounded(1)
    max_retries: int | float = bounded(0)
    timeout: float | None = bounded(0)
    target: float | None = MISSING
    plateau: Plateau = field(default_factory=Plateau)
    force: bool = MISSING


@dataclass
class Criteria:
    """The research's success criteria. They are configuration, because each data set has its own targets.

    ``epoch`` is the one at which overfitting is judged.
    """

    min_val_auc: float = bounded(0, 1)
    first_best_epoch: int = bounded(1)
    last_best_epoch: int = bounded(1)
    max_train_val_gap: float = bounded(0, 1)
    max_train_auc: float = bounded(0, 1)
    epoch: int = bounded(1)


@dataclass
class Config:
    """The whole config of a job."""

    model: Any = MISSING
    data: Any = MISSING
    regularization: Regularization = field(default_factory=Regularization)
    training: Training = field(default_factory=Training)
    device: Device = field(default_factory=Device)
    sweep: Sweep = field(default_factory=Sweep)
    criteria: Criteria = field(default_factory=Criteria)
    seed: int = bounded(0)
    resume: Literal["never", "auto"] = MISSING
    experiment: str | None = None


@dataclass
class Confirm:
    """Which trials are run again on seeds that the search did not use."""

    top: int = bounded(0)
    seeds: list[int] = MISSING


@dataclass
class Pace:
    """When an epoch counts as slow.

    ``ratio``    over the median of the run's epochs; in the earlier experiment it was 30 and more.
    ``seconds``  over the median: below this, whatever the ratio, it is the noise of short epochs.
    """

    ratio: float = bounded(1)
    seconds: float = bounded(0)


@dataclass
class Tiers:
    """What the criteria need besides to become a tier.

    ``near_miss``    how far below its target a validation AUC is still tier 2.
    ``healthy_gap``  the train-validation gap that the research calls healthy; a remark, no criterion.
    """

    near_miss: float = bounded(0, 1)
    healthy_gap: list[float] = MISSING


@dataclass
class Phase4:
    """What is confirmed and repeated, over which seeds, where to, and how it is judged."""

    storage: str = MISSING
    study: str | None = MISSING
    folder: str = MISSING
    program: str | None = MISSING
    seed_key: str = MISSING
    baseline: Any = MISSING
    objective: str | None = MISSING
    design: str = MISSING
    looks: list[int] = MISSING
    futility: int | None = bounded(1)
    margin: float | None = bounded(0, open_low=True)
    seeds: list[int] | None = MISSING
    points: list[str] | None = MISSING
    epochs: int | None = bounded(1)
    confirm: Confirm = field(default_factory=Confirm)
    test: bool = MISSING
    alpha: float = bounded(0, 1, open_low=True, open_high=True)
    resamples: int = bounded(1)
    ask: bool = MISSING
    force: bool = MISSING
    launcher: str | None = MISSING
    overrides: list[str] = MISSING
    reuse: str = MISSING
    pace: Pace = field(default_factory=Pace)
    tiers: Tiers = field(default_factory=Tiers)


#: The schema that is stored last: where it is, all the others are.
LAST = "schema_phase4"


def register() -> None:
    """Puts the schemas of the primary configs into Hydra's config store. Idempotent."""
    store = ConfigStore.instance().store
    store(name="schema", node=Config, replace=True)
    store(name=LAST, node=Phase4, replace=True)
