"""What a detection finds: estimates with their intervals, one a metric."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from probesteer.stats import percentile_interval


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; the bounds are NaN where none is defined."""

    estimate: float
    lower: float = float("nan")
    upper: float = float("nan")


@dataclass(frozen=True)
class Detection:
    """Held-out metrics of one layer; the direction and the threshold come from the training split alone."""

    auroc: Estimate
    """AUROC of the test projections; logit interval with pair-clustered DeLong variance."""
    out_of_scenario_auroc: Estimate
    """Mean over scenarios of the AUROC of a probe fitted on all texts of the others; NaN with a single scenario."""
    out_of_scenario_dprime: Estimate
    """d' of these probes within the scenarios left out."""
    accuracy: Estimate
    """Share of test texts on their side of the training threshold, the midpoint of the class means; Wilson, clustered."""
    accuracy_test_midpoint: Estimate
    """As published for two models: the threshold is the midpoint of the test class means."""
    accuracy_test_median: Estimate
    """As published for one model: the threshold is the median of the test projections."""
    separation: Estimate
    """Difference of the test projections' class means; jackknife over groups."""
    std_positive: Estimate
    """Population standard deviation of the positive test projections: a description, as that of the negative ones is."""
    std_negative: Estimate
    """Population standard deviation of the negative test projections."""
    dprime: Estimate
    """Separation over the pooled standard deviation (unbiased variances), both held out; jackknife over groups."""
    dprime_published: Estimate
    """The published d': on the training texts that the direction was fitted on, over their total SD, so at most 2."""
    dprime_null: Estimate
    """Mean held-out d' of probes refitted on permuted labels, with the central 95 % of the null."""
    purity: Estimate
    """Share of all texts in a k-means cluster (k = 2) whose majority has their label: mean over seeds, judged by its null."""
    purity_null: Estimate
    """Mean purity under label permutation, with the central 95 % of the null."""
    purity_p: Estimate
    """One-sided permutation p of the purity."""
    random_auroc: Estimate
    """Mean test AUROC of random unit directions, with the central 95 % of them."""
    random_auroc_std: Estimate
    """Population standard deviation of the random directions' AUROC."""
    random_auroc_p95: Estimate
    """95th percentile of the random directions' AUROC."""
    matched_auroc: Estimate
    """Mean test AUROC of random directions with the covariance of the training texts within class, and the central 95 %."""
    matched_auroc_p95: Estimate
    """95th percentile of the covariance-matched directions' AUROC."""
    permutation_auroc: Estimate
    """Mean AUROC of probes refitted on permuted labels, with the central 95 % of the null; 0.5 is chance."""
    permutation_p: Estimate
    """One-sided p of the AUROC against that null: (b + 1) / (m + 1)."""
    permutation_p_max: Estimate
    """The same against the best block of each permutation: corrected for looking at all blocks."""
    control_task_auroc: Estimate
    """AUROC for random labels of groups, fitted on their positive and read off their negative texts: mean, central 95 %."""
    selectivity: Estimate
    """AUROC minus that of the control task (Hewitt and Liang 2019)."""
    cv_auroc: Estimate
    """Mean AUROC over folds of the training split, a fold leaving out whole scenarios and clusters: selects the layer."""
    participation_ratio: Estimate
    """Dimensions that carry the direction: 1 / sum of its fourth powers, from 1 to the hidden size."""
    top_share: Estimate
    """Share of the direction's squared norm in the largest 1 % of its dimensions."""
    split_cosine: Estimate
    """Mean cosine of directions fitted on two random halves of the training groups, with the central 95 %."""
    test_groups: Estimate
    """Number of test groups: pairs, or clusters of near-duplicate pairs."""

    def rows(self) -> list[dict[str, float | str]]:
        """One row per metric."""
        return [metric_row(field.name, getattr(self, field.name)) for field in fields(self)]


def metric_row(metric: str, value: Estimate, of: str = "") -> dict[str, Any]:
    """A row of a detection table; `of` names the instance of a metric that comes several times."""
    return {"metric": metric, "of": of, "estimate": value.estimate, "lower": value.lower, "upper": value.upper}


def spread(draws: np.ndarray) -> Estimate:
    """The mean of draws and their central 95 %, undefined draws left out; NaN where none is defined."""
    known = draws[np.isfinite(draws)]
    return Estimate(float(known.mean()) if len(known) else float("nan"), *percentile_interval(known))
