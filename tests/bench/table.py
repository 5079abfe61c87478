#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Make a table, and curves, of what the benchmark has measured.

usage: table.py COSTS RATIOS DIRECTORY

COSTS is what the programs print. RATIOS has the target of each case and the ratio that
was reached when it was last written: none may be worse than that by more than a margin.
bench.tsv and bench-*.svg go into DIRECTORY.
"""

import collections
import math
import sys

try:
    import pygal
except ImportError:  # of an older build root
    pygal = None

MARGIN = 1.03
# In real time: how busy the machine is tells, too, so that these are shown and not judged.
REAL_TIME = "two_threads_"

# What a ratio is of, where it is not of one case in two ways.
RATIOS = {
    "idle_100000": (("idle.100000", "kqueue"), ("idle.100", "kqueue")),
    "close_elsewhere_file": (("close_elsewhere_file", "kqueue"), ("close_idle_file", "peer")),
    "close_elsewhere_duplicate": (
        ("close_elsewhere_duplicate", "kqueue"),
        ("close_idle_duplicate", "peer"),
    ),
}


def read_costs(path):
    costs = collections.defaultdict(dict)
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, way, cost = line.split("\t")
            costs[name][way] = float(cost)
    return costs


def read_ratios(path):
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if not line.startswith("#")]
    rows = [line.split("\t") for line in lines[1:]]
    return {name: (float(target), float(reached)) for name, target, reached in rows}


def curve(costs, prefix, title, x_title, path):
    """Costs of the cases PREFIX.NUMBER, a line for each way."""
    points = sorted(
        (int(name.split(".")[1]), of) for name, of in costs.items() if name.startswith(prefix + ".")
    )
    chart = pygal.Line(
        title=title,
        x_title=x_title,
        y_title="instructions",
        js=(),
        range=(0, 1.1 * max(cost for _, of in points for cost in of.values())),
    )
    chart.x_labels = [str(number) for number, _ in points]
    for way, label in ("kqueue", "kqueue"), ("peer", "epoll"), ("libkqueue", "libkqueue"):
        if any(way in of for _, of in points):
            chart.add(label, [of.get(way) for _, of in points])
    chart.render_to_file(path)


def main(costs_path, ratios_path, directory):
    costs = read_costs(costs_path)
    passed = failed = 0
    rows = []
    for name, (target, reached) in read_ratios(ratios_path).items():
        (ours, way), (theirs, other) = RATIOS.get(name, ((name, "kqueue"), (name, "peer")))
        try:
            cost, peer = costs[ours][way], costs[theirs][other]
        except KeyError:
            print(f"not ok - {name}: it was not measured")
            failed += 1
            continue
        ratio = cost / peer
        library = costs[ours].get("libkqueue", math.nan)
        said = "met" if ratio <= target * MARGIN else "not met yet"
        rows.append((name, cost, peer, ratio, target, reached, library, said))
        if name.startswith(REAL_TIME):
            continue
        if ratio <= reached * MARGIN:
            passed += 1
            print(f"ok - bench.{name}")
        else:
            failed += 1
            print(f"not ok - bench.{name}: {ratio:.3f}, and it was {reached:.3f}")

    header = (
        "name",
        "kqueue",
        "peer",
        "ratio",
        "target",
        "reached before",
        "libkqueue",
        "target is",
    )
    with open(f"{directory}/bench.tsv", "w", encoding="utf-8") as file:
        print(*header, sep="\t", file=file)
        for name, *costs_of, ratio, target, reached, library, said in rows:
            numbers = [f"{cost:.1f}" for cost in costs_of]
            print(
                name,
                *numbers,
                f"{ratio:.3f}",
                f"{target:.2f}",
                f"{reached:.3f}",
                "" if math.isnan(library) else f"{library:.1f}",
                said,
                sep="\t",
                file=file,
            )
    print(
        "{:26}{:>9}{:>9}{:>8}{:>8}{:>8}{:>11}  {}".format(
            "", "kqueue", "peer", "ratio", "target", "before", "libkqueue", "target"
        )
    )
    for name, cost, peer, ratio, target, reached, library, said in rows:
        lib = "-" if math.isnan(library) else f"{library:.0f}"
        print(
            f"{name:26}{cost:9.0f}{peer:9.0f}{ratio:8.3f}{target:8.2f}{reached:8.3f}{lib:>11}  {said}"
        )

    if pygal:
        curve(
            costs,
            "idle",
            "One wait, ten descriptors being ready",
            "descriptors that are not",
            f"{directory}/bench-idle.svg",
        )
        curve(
            costs,
            "pingpong",
            "An event, with its read and write",
            "active of 1000 socket pairs",
            f"{directory}/bench-pingpong.svg",
        )
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
