"""Gradient boosted trees on counts, recencies and popularity: the baseline that neural papers leave out.

scikit-learn grows the trees; they are kept as tensors, so that they score a batch and lie in a checkpoint like the
weights of any other model, and nothing is pickled.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor, nn

from mdaf.data.schema import Batch, Schema
from mdaf.model.ctr import Estimator, Output
from mdaf.model.layers.features import Features, count_ids
from mdaf.model.layers.fields import attribute


class Trees(nn.Module):
    """Binary decision trees that add up: (replica, batch, feature) -> (replica, batch).

    (replica, tree, node) each: from a node go to ``child`` where ``feature`` is at most ``threshold``, else to the node
    behind it. A leaf leads to itself; ``value`` is what it adds. Features are read twice over: a missing one (NaN) is
    above every threshold in the first copy and below in the second.
    """

    def __init__(self, trees: int, leaves: int, depth: int) -> None:
        super().__init__()
        self.depth = depth

        def frozen(fill: float, dtype: torch.dtype) -> nn.Parameter:
            return nn.Parameter(torch.full((1, trees, 2 * leaves - 1), fill, dtype=dtype), requires_grad=False)

        self.feature, self.child = frozen(0, torch.int64), frozen(0, torch.int64)
        self.threshold, self.value = frozen(torch.inf, torch.float32), frozen(0.0, torch.float32)
        self.start = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        scores = []
        for r, features in enumerate(x):
            twice = torch.cat([features, torch.where(features.isnan(), -torch.inf, features)], dim=-1)
            trees, nodes = self.feature[r].shape
            first = torch.arange(trees, device=x.device) * nodes
            at = first.expand(features.shape[0], -1)
            for _ in range(self.depth):
                asked = twice.gather(1, self.feature[r].take(at))
                # Not "above": a missing feature is neither below nor above a threshold, and goes on behind.
                behind = ~(asked <= self.threshold[r].take(at))
                at = first + self.child[r].take(at) + behind
            scores.append(self.start[r] + self.value[r].take(at).sum(dim=1))
        return torch.stack(scores)

    def set(self, fitted: HistGradientBoostingClassifier, features: int) -> None:
        """Takes the trees of a classifier of ``features`` features into the first replica; the others add nothing."""
        self.start[0] = float(fitted._baseline_prediction.item())
        for number, (predictor,) in enumerate(fitted._predictors):
            nodes = predictor.nodes
            order = _siblings_adjacent(nodes["left"], nodes["right"], nodes["is_leaf"].astype(bool))
            place = np.empty(len(order), dtype=np.int64)
            place[order] = np.arange(len(order))
            nodes = nodes[order]
            leaf = nodes["is_leaf"].astype(bool)
            # A leaf asks whether its feature is below infinity in the copy where even a missing one is.
            second_copy = leaf | nodes["missing_go_to_left"].astype(bool)
            columns = {
                "feature": np.where(leaf, 0, nodes["feature_idx"]) + features * second_copy,
                "child": np.where(leaf, np.arange(len(order)), place[nodes["left"]]),
                "threshold": np.where(leaf, np.inf, _rounded_down(nodes["num_threshold"])),
                "value": np.where(leaf, nodes["value"], 0.0),
            }
            for name, column in columns.items():
                parameter = getattr(self, name)
                parameter[0, number, : len(order)] = torch.from_numpy(column).to(parameter.dtype)


def _siblings_adjacent(left: np.ndarray, right: np.ndarray, leaf: np.ndarray) -> list[int]:
    """The nodes of a tree, (nodes,) arrays, in an order in which the root is first and each right child is behind its
    left one.
    """
    order = [0]
    for node in order:  # grows while it is read: breadth first
        if not leaf[node]:
            order += [int(left[node]), int(right[node])]
    return order


class Boosted(Estimator):
    """At most ``trees`` trees of at most ``leaves`` leaves and ``depth`` splits above each, on ``Features``.

    ``samples_per_leaf`` at least, ``learning_rate`` the share of each tree that is added, ``l2`` on the leaves' values,
    ``rows`` of the training data at most.
    """

    def __init__(
        self,
        schema: Schema,
        trees: int,
        leaves: int,
        depth: int,
        samples_per_leaf: int,
        learning_rate: float,
        l2: float,
        rows: int,
    ) -> None:
        super().__init__()
        self.features = Features(schema)
        self.popularity = nn.ParameterDict(
            {
                attribute(field.name): nn.Parameter(torch.zeros(1, schema.tables[field.table]), requires_grad=False)
                for field in self.features.counted
            }
        )
        self.trees = Trees(trees, leaves, depth)
        self._trees = trees
        self.learning_rate, self.rows = learning_rate, rows
        self._settings = {
            "learning_rate": learning_rate,
            "max_leaf_nodes": leaves,
            "max_depth": depth,
            "min_samples_leaf": samples_per_leaf,
            "l2_regularization": l2,
        }
        self._classifier: HistGradientBoostingClassifier | None = None

    def forward(self, batch: Batch) -> Output:
        return Output(self.trees(self.features(batch, self._popularity())))

    def _popularity(self) -> dict[str, Tensor]:
        return {field.name: self.popularity[attribute(field.name)] for field in self.features.counted}

    def count(self, batch: Batch) -> None:
        """Counts ids, for their popularity."""
        for name, counts in self._popularity().items():
            count_ids(counts[0], batch.static[name][0])

    def training_features(self, batch: Batch) -> Tensor:
        """Features in which an id's popularity is that among the other samples."""
        others = {name: (counts - 1).clamp(min=0) for name, counts in self._popularity().items()}
        return self.features(batch, others)

    def fit(self, x: Tensor, labels: Tensor, share: float, seed: int) -> Tensor:
        """Grows trees until there is this share of them, going on with those that an earlier call has grown."""
        if self._classifier is None:
            self._classifier = HistGradientBoostingClassifier(
                warm_start=True, early_stopping=False, random_state=seed, **self._settings
            )
        # scikit-learn cannot bin a feature that no sample has; as a constant it splits nothing, and so is never asked.
        features = x.masked_fill(x.isnan().all(dim=0), 0.0).numpy()
        self._classifier.set_params(max_iter=math.ceil(self._trees * share)).fit(features, labels.numpy() > 0.5)
        self.trees.set(self._classifier, features=x.shape[1])
        return torch.from_numpy(self._classifier.decision_function(features))


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that are at most ``thresholds``: float32 features fall on the same side of them."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
