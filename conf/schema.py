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
    """The regularization of a run, which a sweep searches.

    ``name``               Names these settings in summaries and reports.
    ``dropout``            Probability with which each activation is dropped during training.
    ``weight_decay``       Strength of the L2 penalty on all weights; `training.decay` says how it is applied.
    ``label_smoothing``    Moves labels towards 1/2: a click becomes 1 - s/2, no click s/2.
    ``embedding_l2``       Further weight decay of embedding tables, added to `weight_decay`.
    ``reinit_embeddings``  Whether embedding tables are drawn anew at the start of each epoch (MEDA).
    """

    name: str = MISSING
    dropout: float = bounded(0, 1, open_high=True)
    weight_decay: float = bounded(0)
    label_smoothing: float = bounded(0, 0.5)
    embedding_l2: float = bounded(0)
    reinit_embeddings: bool = MISSING


@dataclass
class Training:
    """Settings of the training loop.

    ``epochs``               Number of passes over the training rows.
    ``batch_size``           Samples per optimizer step.
    ``eval_batch_size``      Greatest number of samples with the longest histories per forward pass in evaluation. A
                             CPU takes fewer where that is faster. A GPU with much memory takes up to eight times as
                             many of all replicas together, and up to eight times as many again of short histories.
    ``learning_rate``        Learning rate of Adam after the warmup.
    ``grad_clip_norm``       Greatest allowed norm of a replica's whole gradient; null: gradients are not clipped.
    ``decay``                How weight decay is applied: `coupled` adds it to Adam's gradient (L2), `decoupled` is
                             AdamW.
    ``embedding_optimizer``  Which rows of an embedding table a step moves: `full` all of them, `lazy` those in the
                             batch.
    ``schedule``             Learning rate schedule after the warmup.
    ``warmup_fraction``      Share of all steps during which the learning rate rises linearly to its full value.
    ``plateau_epochs``       With `schedule=plateau`: epochs without a better monitor before the learning rate is
                             lowered.
    ``plateau_factor``       With `schedule=plateau`: the learning rate is multiplied by this number.
    ``plateau_lowest_rate``  With `schedule=plateau`: the learning rate never falls below this value.
    ``loss``                 The loss: `bce`, `focal`, or a function of your own such as `mine.loss`.
    ``focal_gamma``          Exponent of `loss=focal`: how little well predicted samples count; 0 gives `bce`.
    ``positive_weight``      How many times the loss of a click counts; null: once. It shifts predicted probabilities.
    ``monitor``              Validation column of `metrics.csv` that decides the best epoch, early stopping and a
                             sweep's objective.
    ``patience``             Epochs without a better monitor after which the run stops early; null: it never stops
                             early.
    ``ranking_at``           The K of HR@K and NDCG@K, which are measured where negatives are drawn.
    ``train_sample``         Number of training rows on which `train_auc` is measured; the seed decides which rows.
    ``checkpoint_seconds``   Seconds between two checkpoints, of which a killed run loses at most so many; null: one
                             after each epoch.
    ``steps_per_epoch``      Greatest number of steps per epoch, for a short try; null: every row is seen.
    """

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

    ``factor``    Steps are slow when they take this many times longer than those of the first full epoch.
    ``patience``  Steps that stay slow for this many seconds are a slow-down.
    ``action``    On a slow-down: `warn` logs it, `stop` saves and exits, `fallback_cpu` goes on from the checkpoint on
                  the CPU.
    ``hang``      Seconds without progress after which the process writes its stacks and exits with code 76; null:
                  never.
    """

    factor: float = bounded(1, open_low=True)
    patience: float = positive()
    action: Literal["warn", "stop", "fallback_cpu"] = MISSING
    hang: float | None = positive()


@dataclass
class Device:
    """The device of a run, and how it is used.

    ``name``             `auto` (CUDA, else MPS, else CPU), `cpu`, `mps`, `cuda` or `cuda:1`.
    ``threads``          CPU threads at most; null: torch's own choice. Each computes samples of its own, and what has
                         little work takes one.
    ``micro_batch``      Samples per forward pass within a step of `batch_size`; null: all of them, or on a CPU the
                         fastest number.
    ``gpus``             GPUs over which a launch shares out its jobs: `all`, how many, or their numbers, as `[0,2]`.
    ``gpus_per_trial``   GPUs that a cluster's launcher asks for; with Ray a fraction puts several trials on one GPU.
    ``precision``        Precision of matrix products; with `bf16`, weights and optimizer states stay in fp32.
    ``graphs``           Whether steps on CUDA are captured in CUDA graphs: same results, less time per step.
    ``memory_fraction``  Greatest share of device memory for the store; a larger store stays on disk and is read in
                         batches.
    """

    name: str = MISSING
    threads: int | None = bounded(1)
    micro_batch: int | None = bounded(1)
    gpus: Any = MISSING
    gpus_per_trial: float = bounded(0, 1)
    precision: Literal["fp32", "tf32", "bf16"] = MISSING
    graphs: bool = MISSING
    memory_fraction: float = bounded(0, 1)
    guard: Guard = field(default_factory=Guard)


@dataclass
class Tracker:
    """Where runs are shown besides their folders, and what is copied there.

    ``name``       The tracker; its extra of the same name must be installed.
    ``project``    The project, or MLflow's experiment, in which runs are shown.
    ``uri``        A folder or a URL of the tracker; null: its own library's default.
    ``artifacts``  Files that are copied to the tracker: `summary`, `metrics` and `checkpoint`.
    """

    name: Literal["none", "tensorboard", "wandb", "mlflow", "aim"] = MISSING
    project: str = MISSING
    uri: str | None = MISSING
    artifacts: list[str] = MISSING


@dataclass
class Alert:
    """Whom a command tells that it has finished, is failing, or has found a new best value.

    ``command``  A program and its arguments, which runs on each alert; no shell reads them. null: none.
    ``message``  How the program gets the message: on standard input, or as its last argument.
    ``webhook``  A URL that gets the message as JSON; null: none.
    ``on``       What is told: `finished`, `failing` and `new_best`.
    """

    command: list[str] | None = MISSING
    message: Literal["stdin", "argument"] = MISSING
    webhook: str | None = MISSING
    on: list[str] = MISSING


@dataclass
class Plateau:
    """Ends a sweep after so many trials without an improvement of more than ``epsilon``.

    ``trials``   The sweep ends after this many trials without an improvement; null: never.
    ``epsilon``  A smaller gain than this is no improvement.
    """

    trials: int | None = bounded(1)
    epsilon: float = bounded(0)


@dataclass
class Sweep:
    """The study of a job, and when its sweep ends.

    The sweeper sets ``trial``; do not set it by hand.

    ``storage``       URL of the study database: `sqlite:///`, `journal:///`, `postgresql+psycopg://` or
                      `mysql+pymysql://`.
    ``study``         Name of the study of this job; the sweeper sets it.
    ``trial``         Number of the trial of this job; the sweeper sets it.
    ``objectives``    Columns of `metrics.csv` that a job returns, at its best epoch; one for each
                      `hydra.sweeper.direction`.
    ``artifacts``     URL such as `s3://bucket/runs` to which each finished run folder is copied; null: nothing is
                      copied.
    ``workers``       Processes on this machine; each asks for its next trial when it is free.
    ``max_failures``  Failed trials in a row that end the sweep; null: 2 * n_trials in all; inf: never.
    ``max_deaths``    A point whose process was killed, hung or lost this many times is not tried again; inf: it always
                      is.
    ``max_retries``   How many times a resumed sweep tries a failed known point, or a failed point of a grid, again.
    ``timeout``       Seconds after which no further trial starts; null: no limit.
    ``target``        The sweep ends when the objective reaches this value; null: no target.
    ``force``         Whether a sweep may resume a study whose trials have another objective, search space, config or
                      data.
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

    ``min_val_auc``        Lowest validation AUC that is a success.
    ``first_best_epoch``   The best epoch may not be earlier than this one.
    ``last_best_epoch``    The best epoch may not be later than this one.
    ``max_train_val_gap``  Training AUC minus validation AUC must be below this at epoch `epoch`.
    ``max_train_auc``      The training AUC must be below this at epoch `epoch`.
    ``epoch``              The epoch at which overfitting is judged.
    """

    min_val_auc: float = bounded(0, 1)
    first_best_epoch: int = bounded(1)
    last_best_epoch: int = bounded(1)
    max_train_val_gap: float = bounded(0, 1)
    max_train_auc: float = bounded(0, 1)
    epoch: int = bounded(1)


@dataclass
class Config:
    """The whole config of a job.

    ``model``       The model: a config group, see [Models](#model).
    ``data``        The data source: a config group, see [Data](#data).
    ``seed``        Seed of everything that a run draws: weights, batches, dropout.
    ``resume``      `auto` continues the most recent run of this very command, and repeats no finished one.
    ``experiment``  A config group that sets keys of several groups at once; null: none.
    """

    model: Any = MISSING
    data: Any = MISSING
    regularization: Regularization = field(default_factory=Regularization)
    training: Training = field(default_factory=Training)
    device: Device = field(default_factory=Device)
    sweep: Sweep = field(default_factory=Sweep)
    tracker: Tracker = field(default_factory=Tracker)
    alert: Alert = field(default_factory=Alert)
    criteria: Criteria = field(default_factory=Criteria)
    seed: int = bounded(0)
    resume: Literal["never", "auto"] = MISSING
    experiment: str | None = None


@dataclass
class Confirm:
    """Which trials are run again on seeds that the search did not use.

    ``top``    Number of the study's best trials that are confirmed, beside the balanced point; 0: the best trial wins
               unconfirmed.
    ``seeds``  Seeds of confirmation, which neither the search nor Phase 4 uses.
    """

    top: int = bounded(0)
    seeds: list[int] = MISSING


@dataclass
class Pace:
    """When an epoch counts as slow.

    ``ratio``    An epoch is slow when it takes this many times the median epoch of its run, and more than `seconds`
                 besides.
    ``seconds``  A difference to the median below this many seconds is the noise of short epochs.
    """

    ratio: float = bounded(1)
    seconds: float = bounded(0)


@dataclass
class Tiers:
    """What the criteria need besides to become a tier.

    ``near_miss``    A validation AUC at most this far below its target is still tier 2.
    ``healthy_gap``  The range of the train-validation gap that the report calls healthy; a remark, not a criterion.
    """

    near_miss: float = bounded(0, 1)
    healthy_gap: list[float] = MISSING


@dataclass
class Phase4:
    """What is confirmed and repeated, over which seeds, where to, and how it is judged.

    ``storage``    URL of the study database.
    ``study``      Name of the study; null: the only one of the storage, or the most recently active one.
    ``folder``     Runs go to FOLDER/STUDY/POINT/seed-S, the report to FOLDER/STUDY/report.
    ``program``    The command that runs another Hydra program, such as `python -m their.module`; null: a study of this
                   program.
    ``seed_key``   Of another program: the config key that seeds a run.
    ``baseline``   Of another program: what the winner is compared with, as a known point's name, a trial's number or a
                   mapping.
    ``objective``  Which objective is judged where the study has several; null: the only one.
    ``design``     `sequential` looks after growing numbers of seeds; `research` compares four points on five seeds
                   once.
    ``looks``      With `design=sequential`: numbers of pairs of seeds after which the difference is tested.
    ``futility``   With `design=sequential`: number of pairs from which a mean difference that is not positive ends the
                   comparison; null: never.
    ``margin``     Differences up to this size do not matter to you; adds the verdict `equivalent`. null: no margin.
    ``seeds``      Seeds of the comparison; null: the ten (or, with `design=research`, five) that `conf/phase4.yaml`
                   names.
    ``points``     Points that are run; null: winner and balanced, with `design=research` also weak and strong.
    ``epochs``     Epochs of every run; null: as many as the study's trials had.
    ``test``       Whether the test split decides; false: the validation rows decide.
    ``alpha``      Two-sided level of significance, over all looks or comparisons together.
    ``resamples``  Number of bootstrap resamples of users for the interval over rows.
    ``ask``        Whether the plan is shown and confirmed before anything is trained; `--yes` is `ask=false`.
    ``force``      Whether to start although a precondition is not met or the looks differ from the plan; the report
                   says so.
    ``launcher``   Option of `hydra/launcher` for the runs; null: the runs' own default.
    ``overrides``  Overrides of every run that replace those of the study, such as `[device=cpu]`.
    ``run_tracker``  Overrides of the runs' tracker, such as `[tracker=mlflow]`.
    ``reuse``      Folder whose finished runs of the same config and data are reused.
    """

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
    run_tracker: list[str] = MISSING
    alert: Alert = field(default_factory=Alert)
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
