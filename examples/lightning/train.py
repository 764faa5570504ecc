"""A Lightning program: a small network tells the arms of two spirals apart. The points are drawn, not downloaded."""

from __future__ import annotations

import logging
import math

import hydra
import torch
from lightning import pytorch as pl
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mdaf.sweeper.callbacks.lightning import TrialCallback


def spirals(count: int, seed: int) -> TensorDataset:
    """Noisy points of two spirals, and the arm of each."""
    draw = torch.Generator().manual_seed(seed)
    arm = torch.randint(2, (count,), generator=draw)
    along = 0.2 + 0.8 * torch.rand(count, generator=draw)
    angle = 2 * math.pi * along + math.pi * arm
    points = along[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
    return TensorDataset(points + 0.03 * torch.randn(count, 2, generator=draw), arm.float())


class Classifier(pl.LightningModule):
    """Logs ``val/loss`` after each epoch."""

    def __init__(self, width: int, dropout: float, learning_rate: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        points, arm = batch
        return nn.functional.binary_cross_entropy_with_logits(self.layers(points).squeeze(1), arm)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


@hydra.main(config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """Returns the validation loss after the last epoch. The callback reports each epoch, and prunes."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    pl.seed_everything(cfg.seed, verbose=False)
    training = DataLoader(spirals(512, cfg.seed), batch_size=cfg.batch_size, shuffle=True)
    validation = DataLoader(spirals(512, cfg.seed + 1000), batch_size=512)
    trainer = pl.Trainer(
        max_epochs=cfg.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[TrialCallback("val/loss")],
    )
    trainer.fit(Classifier(cfg.width, cfg.dropout, cfg.learning_rate), training, validation)
    loss = float(trainer.callback_metrics["val/loss"])
    print(f"validation loss {loss:.4f}")
    return loss


if __name__ == "__main__":
    main()
