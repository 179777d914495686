#!/usr/bin/env python3
"""Expected values for the monitor's statistics, from numpy, scipy and scikit-learn.

Writes tests/golden/monitor/*.json, which the tests of crates/monitor read, so that they need no Python. Run it again
after changing a case:

    python3 -m venv /tmp/oracle && /tmp/oracle/bin/pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
    /tmp/oracle/bin/python tests/python/monitor_oracle.py

Inputs are seeded and rounded, and stand in the files beside what is expected of them. Bins are the project's own
definition (reference quantiles i/256 and i/10, atoms); they are restated here in Python, everything computed from them
comes from the libraries where these have it.
"""

import json
import math
from pathlib import Path

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "monitor"
FLOOR = 1e-4


def quantile(ordered, i, parts):
    below, rest = divmod((len(ordered) - 1) * i, parts)
    low = ordered[below]
    high = ordered[min(below + 1, len(ordered) - 1)]
    return low if rest == 0 or low == high else low + (high - low) * (rest / parts)


def edge_set(ordered, parts):
    edges = {quantile(ordered, i, parts) for i in range(1, parts)}
    values, counts = np.unique(ordered, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist()):
        if count * parts > len(ordered):
            edges |= {float(np.nextafter(value, -np.inf)), value}
    return sorted(edges)


def count(edges, values):
    """Left-open, right-closed bins."""
    bins = np.searchsorted(edges, values, side="left")
    return np.bincount(bins, minlength=len(edges) + 1).tolist()


def psi(reference, current):
    p = np.array(reference) / sum(reference)
    q = np.array(current) / sum(current)
    p, q = np.where(p == 0, FLOOR, p), np.where(q == 0, FLOOR, q)
    return float(np.sum((p - q) * np.log(p / q)))


def js(reference, current):
    return float(jensenshannon(reference, current, base=2))


def numeric_case(name, reference, current):
    reference = [float(v) for v in reference]
    current = [float(v) for v in current]
    ordered = sorted(reference)
    deciles = edge_set(ordered, 10)
    edges = sorted(set(edge_set(ordered, 256)) | set(deciles))
    share_reference, share_current = count(deciles, reference), count(deciles, current)
    fine_reference, fine_current = count(edges, reference), count(edges, current)
    running = np.cumsum(fine_reference) / len(reference) - np.cumsum(fine_current) / len(current)
    distance = float(np.max(np.abs(running)))
    exact = stats.ks_2samp(reference, current, method="asymp").statistic
    n, m = len(reference), len(current)
    gap = max(max(fine_reference) / n, max(fine_current) / m)
    return {
        "name": name,
        "reference": reference,
        "current": current,
        "deciles": deciles,
        "reference_counts": fine_reference,
        "current_counts": fine_current,
        "psi": psi(share_reference, share_current),
        "js": js(share_reference, share_current),
        "ks": distance,
        "ks_exact": float(exact),
        "ks_gap_bound": float(gap),
        "ks_p": float(stats.kstwo.sf(distance, round(n * m / (n + m)))),
        "mean": math.fsum(reference) / n,
        "std": float(np.std(reference)),
        "iqr": float(np.quantile(reference, 0.75) - np.quantile(reference, 0.25)),
    }


def numeric():
    random = np.random.default_rng(20130101)
    draw = lambda values: np.round(values, 3)
    atoms = lambda size, share: np.where(random.random(size) < share, 0.0, draw(random.normal(5, 2, size)))
    normal = draw(random.normal(0, 1, 2400))
    outlier = draw(random.normal(0, 1, 1500))
    outlier[0] = 1000.0
    return [
        numeric_case("no shift", draw(random.normal(0, 1, 2600)), draw(random.normal(0, 1, 2100))),
        numeric_case("small shift", normal, draw(random.normal(0.06, 1, 2000))),
        numeric_case("shift and scale", normal, draw(random.normal(0.2, 1.1, 1800))),
        numeric_case("heavy tail", draw(random.lognormal(0, 1.5, 2200)), draw(random.lognormal(0.1, 1.5, 1900))),
        numeric_case("atom", atoms(2000, 0.4), atoms(1500, 0.35)),
        numeric_case("whole numbers", random.poisson(4, 2000), random.poisson(4.4, 1700)),
        numeric_case("few values", random.integers(0, 3, 1200), random.integers(0, 3, 1100)),
        numeric_case("constant", np.full(600, 7.0), np.where(random.random(700) < 0.9, 7.0, 8.0)),
        numeric_case("one outlier", draw(random.normal(0, 1, 2000)), outlier),
        numeric_case("disjoint", draw(random.normal(0, 1, 800)), draw(random.normal(50, 1, 700))),
    ]


def categorical():
    cases = []
    for name, reference, current in [
        ("two cells", [600, 400, 0, 0], [330, 170, 0, 0]),
        ("four cells", [500, 300, 150, 50, 0, 0], [420, 310, 190, 30, 0, 0]),
        ("rare cells are pooled", [900, 80, 3, 2, 0, 0], [850, 90, 1, 4, 2, 0]),
        ("unseen category", [500, 500, 0, 0], [400, 380, 0, 60]),
    ]:
        other = len(reference) - 2
        n, m = sum(reference), sum(current)
        pooled, cells = [0, 0], []
        for i, (r, c) in enumerate(zip(reference, current)):
            if i == other or (r + c) * min(n, m) / (n + m) < 5:
                pooled = [pooled[0] + r, pooled[1] + c]
            else:
                cells.append([r, c])
        if pooled != [0, 0]:
            cells.append(pooled)
        test = stats.chi2_contingency(np.array(cells).T, correction=False)
        cases.append({
            "name": name, "reference": reference, "current": current, "other": other,
            "psi": psi(reference, current), "js": js(reference, current),
            "chi_square": float(test.statistic), "degrees": int(test.dof), "p": float(test.pvalue),
        })
    return cases


def tails():
    chi = [
        {"x": x, "degrees": k, "p": float(stats.chi2.sf(x, k))}
        for k in [0.7, 1, 2, 3.4, 9, 25.5, 120] for x in [0.01, 0.5, 1, 3, 10, 40, 200]
    ]
    points = [
        {"alpha": a, "degrees": k, "x": float(stats.chi2.isf(a, k))}
        for k in [0.7, 1, 2, 9, 60.3] for a in [0.5, 0.05, 0.01, 1e-6]
    ]
    kolmogorov = [{"z": z, "p": float(stats.kstwobign.sf(z))} for z in [0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.36, 2, 4, 8]]
    random = np.random.default_rng(5)
    p = np.concatenate([random.random(30), random.random(10) ** 6])
    adjusted = stats.false_discovery_control(p)
    fdr = [{"alpha": a, "p": p.tolist(), "rejected": (adjusted <= a).tolist()} for a in [0.01, 0.05, 0.2]]
    return {"chi_square": chi, "chi_square_points": points, "kolmogorov": kolmogorov, "benjamini_hochberg": fdr}


def quality():
    random = np.random.default_rng(77)
    size = 3000
    score = np.round(np.clip(random.beta(2, 4, size), 0, 1), 6)
    label = random.random(size) < score
    score[:4], label[:4] = [0.0, 1.0, 0.0, 1.0], [False, True, True, False]
    predicted = score >= 0.5
    return {
        "score": score.tolist(),
        "label": label.tolist(),
        "auc": float(metrics.roc_auc_score(label, score)),
        "log_loss": float(metrics.log_loss(label, score)),
        "brier": float(metrics.brier_score_loss(label, score)),
        "precision": float(metrics.precision_score(label, predicted)),
        "recall": float(metrics.recall_score(label, predicted)),
        "f1": float(metrics.f1_score(label, predicted)),
    }


def main():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    files = {"numeric": numeric(), "categorical": categorical(), "tails": tails(), "quality": quality()}
    for name, content in files.items():
        (GOLDEN / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
