"""Prints the medians of `BENCH_DATA`/results.jsonl as markdown, and each client over skopeo.

    python3 report.py
"""

import collections
import json
import statistics

import registries

# What is compared, and how it is read from a run.
COLUMNS = {
    "wall s": lambda run: run["wall"],
    "CPU s": lambda run: run["cpu"],
    "peak RSS MiB": lambda run: run["rss_mib"],
    "requests, source": lambda run: run["source"]["requests"],
    "requests, target": lambda run: run["target"]["requests"],
}
BASIS = "skopeo-sync"


def main():
    runs = collections.defaultdict(list)
    for line in (registries.DATA / "results.jsonl").read_text().splitlines():
        run = json.loads(line)
        runs[run["corpus"], run["phase"], run["client"]].append(run)
    medians = {
        key: {name: statistics.median(map(read, found)) for name, read in COLUMNS.items()}
        for key, found in runs.items()
    }
    table("Medians", ["arrived", "runs"], medians, runs)
    print()
    ratios(medians)


def table(title, more, medians, runs):
    columns = ["corpus", "phase", "client", *COLUMNS, *more]
    print(f"### {title}\n\n| {' | '.join(columns)} |")
    print("|---|---|---|" + "---:|" * len(COLUMNS) + "---|---:|")
    for key, values in medians.items():
        numbers = [f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in values.values()]
        last = runs[key][-1]
        what = ", ".join(f"{count} {name}" for name, count in last["arrived"].items())
        if any(run["exit"] for run in runs[key]):
            what += f" (exit {last['exit']})"
        print(f"| {' | '.join([*key, *numbers, what, str(len(runs[key]))])} |")


def ratios(medians):
    """A client without memory has no run of its own without it: then its noop is the basis."""
    print(f"### Over {BASIS} of the same run\n\n| corpus | phase | client | {' | '.join(COLUMNS)} |")
    print("|---|---|---|" + "---:|" * len(COLUMNS))
    for (corpus, phase, client), values in medians.items():
        basis = medians.get((corpus, phase.removesuffix("-nostate"), BASIS))
        if client == BASIS or basis is None:
            continue
        parts = [f"{values[name] / basis[name]:.2f}" if basis[name] else "-" for name in COLUMNS]
        print(f"| {corpus} | {phase} | {client} | {' | '.join(parts)} |")


if __name__ == "__main__":
    main()
