"""Draws the comparison, one picture for each workload.

    plot.py FOLDER < figures.json
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "modelgate"  # the same figures, the same file
from matplotlib import pyplot  # noqa: E402

PANELS = {"per second": "requests a second, 32 connections", "p99 ms": "p99 in ms, 32 connections", "MiB": "memory in MiB"}


def draw(workload, chart, folder):
    names = list(chart["servers"])
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(12, 0.45 * len(names) + 1), sharey=True, layout="constrained")
    for axis, (figure_name, label) in zip(axes, PANELS.items()):
        values = [chart["servers"][name][figure_name] for name in names]
        bars = axis.barh(names, values, color=["#c2410c" if name == "Modelgate" else "#94a3b8" for name in names])
        axis.bar_label(bars, [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in values], padding=3)
        axis.set_xlim(0, max(values) * 1.25)
        axis.set_xlabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    figure.suptitle(chart["title"])
    figure.savefig(folder / f"peers-{workload}.svg", metadata={"Date": None})


def main():
    for workload, chart in json.load(sys.stdin).items():
        draw(workload, chart, pathlib.Path(sys.argv[1]))


main()
