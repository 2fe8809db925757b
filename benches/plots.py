"""Plots of the results, as small SVG files that come out the same from the same numbers."""

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402  (after the backend is chosen)
from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: E402

import stats  # noqa: E402

matplotlib.rcParams.update({
    # Element ids from a fixed salt, text as text: deterministic, and small.
    "svg.hashsalt": "portcullis",
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.axisbelow": True,
    # A page may be dark; the plots bring their own white.
    "savefig.facecolor": "white",
})

# Portcullis stands out, the others in order of kinship.
_COLOURS = {"portcullis": "#c2500a", "native": "#2b6cb0", "noop": "#8a94a3", "none": "#c3c9d2"}


def colour(label):
    """By who it is: the first word before `-`, `,` or a blank; sizes of one thing are Portcullis."""
    for name, value in _COLOURS.items():
        if label.startswith(name):
            return value
    return _COLOURS["portcullis"]


def bars(path, workloads, rows):
    """CPU µs a request of each entry, a panel for each workload; the whisker is from the least to the greatest round.

    `workloads` are as in the results file, `rows` the measurements.
    """
    named = {one["name"]: [row for row in rows if row["workload"] == one["name"]] for one in workloads}
    heights = [len(stats.labels(own)) for own in named.values()]
    figure, panels = pyplot.subplots(
        len(workloads), 1, figsize=(7.2, 0.27 * sum(heights) + 0.62 * len(heights) + 0.2), squeeze=False, sharex=True,
        gridspec_kw={"height_ratios": heights})
    for (panel,), one in zip(panels, workloads):
        own = named[one["name"]]
        names = stats.labels(own)
        spreads = [stats.of(own, name, "cpu_us") for name in names]
        middles = [spread.median for spread in spreads]
        whiskers = [[s.median - s.least for s in spreads], [s.greatest - s.median for s in spreads]]
        panel.barh(range(len(names)), middles, xerr=whiskers, height=0.7, color=[colour(name) for name in names],
                   error_kw={"elinewidth": 0.8, "ecolor": "#333333"})
        panel.bar_label(panel.containers[-1], labels=[f"{middle:.1f}" for middle in middles], padding=4, fontsize=8)
        panel.set_yticks(range(len(names)), names)
        panel.invert_yaxis()
        panel.set_title(one["title"], loc="left")
        panel.grid(axis="x", linewidth=0.4)
        panel.margins(x=0.12)
    panels[-1][0].set_xlabel("CPU µs a request (less is better; whisker: least to greatest round)")
    _save(figure, path)


def growth(path, workload, rows):
    """A series against size: CPU, throughput, memory and time to load, a panel each."""
    ready, sizes = workload["ready_seconds"], workload["sizes"]
    families = list(dict.fromkeys(label.partition(",")[0] for label in stats.labels(rows)))
    figure, panels = pyplot.subplots(1, 4, figsize=(9.6, 2.5))
    units = [("CPU µs a request", "cpu_us", 1), ("requests a second", "rps", 1), ("resident MiB", "rss_bytes", 1 / 2**20)]
    for family in families:
        labels = sorted((label for label in sizes if label.partition(",")[0] == family), key=sizes.get)
        across = [sizes[label] for label in labels]
        for panel, (_, key, scale) in zip(panels, units):
            spreads = [stats.of(rows, label, key) for label in labels]
            middles = [spread.median * scale for spread in spreads]
            panel.plot(across, middles, marker="o", markersize=3, color=colour(family), label=family)
            panel.fill_between(across, [s.least * scale for s in spreads], [s.greatest * scale for s in spreads],
                               color=colour(family), alpha=0.2, linewidth=0)
        panels[3].plot(across, [ready[label] for label in labels], marker="o", markersize=3, color=colour(family))
    for panel, title in zip(panels, [*(unit[0] for unit in units), "seconds to ready"]):
        panel.set_title(title, loc="left")
        panel.grid(linewidth=0.4)
        # What every thing adds to shows nothing of the small sizes on a linear axis.
        least, greatest = (pick(pick(line.get_ydata()) for line in panel.lines) for pick in (min, max))
        if greatest > 20 * least > 0:
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        else:
            panel.set_ylim(bottom=0)
        _sizes(panel, sorted(set(sizes.values())))
    if len(families) > 1:
        panels[0].legend(frameon=False, fontsize=8)
    _save(figure, path)


def _sizes(panel, sizes):
    if max(sizes) / min(sizes) > 20:
        panel.set_xscale("log")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    else:
        panel.set_xticks(sizes)


def _short(value):
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _save(figure, path):
    figure.tight_layout()
    # Without its date the same numbers are the same file.
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)
