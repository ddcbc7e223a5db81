"""How far an interval of agreement can be trusted: python benchmarks/agreement.py [SETS]   prints a Markdown table."""

import sys

import numpy as np

from probesteer.behaviour.agreement import interval, kappa


def simulated_levels(seed: int, clusters: int, true: float, copies: int = 3) -> tuple[float, tuple[float, float, float]]:
    """Cohen's kappa of two raters of an endless supply of texts, and its interval from so many clusters of texts.

    The raters see the same level with probability `true`, and else guess each by themselves, so that this is kappa; texts of a
    cluster share whether they are clear, and their level, with probability 1/2.
    """
    rng = np.random.default_rng([seed, clusters, int(100 * true)])

    def shared(own: np.ndarray, common: np.ndarray) -> np.ndarray:
        return np.where(rng.random(own.shape) < 0.5, common[:, None], own).ravel()

    size = (clusters, copies)
    clear = shared(rng.random(size) < true, rng.random(clusters) < true).astype(bool)
    level = shared(rng.integers(-1, 2, size), rng.integers(-1, 2, clusters))
    first, second = (np.where(clear, level, rng.integers(-1, 2, clusters * copies)) for _ in range(2))
    groups = np.repeat(np.arange(clusters), copies).astype(str)
    return true, interval(kappa, np.array([first, second], dtype=float), groups)


def main() -> None:
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("| kappa | clusters of 3 texts | covers | too high | too low | mean width |\n|---|---|---|---|---|---|")
    for true in (0.0, 0.4, 0.6, 0.8, 0.95):
        for clusters in (20, 60, 100):
            found = [simulated_levels(seed, clusters, true) for seed in range(sets)]
            high = np.mean([lower > truth for truth, (_, lower, _) in found])
            low = np.mean([upper < truth for truth, (*_, upper) in found])
            width = np.mean([upper - lower for _, (_, lower, upper) in found])
            print(f"| {true} | {clusters} | {1 - high - low:.3f} | {high:.3f} | {low:.3f} | {width:.2f} |")


if __name__ == "__main__":
    main()
