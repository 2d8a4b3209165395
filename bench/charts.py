"""Charts of results as SVG."""

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot, ticker  # noqa: E402

# Without it each drawing of the same numbers would be another file.
matplotlib.rcParams["svg.hashsalt"] = "bench"
matplotlib.rcParams["font.size"] = 9
OWN, PEER, BOUND = "#1f6f8b", "#c96f3b", "#9aa5ab"


def bars(file, title, rates):
    """A bar for each contender with its spread; returns the file."""
    names = list(rates)
    medians = [rates[name][0] for name in names]
    below = [rates[name][0] - rates[name][1] for name in names]
    above = [rates[name][2] - rates[name][0] for name in names]
    figure, axes = pyplot.subplots(figsize=(7, 0.6 + 0.32 * len(names)))
    axes.barh(names, medians, xerr=[below, above], color=[_colour(name) for name in names],
              error_kw={"elinewidth": 0.8, "capsize": 2})
    for place, median in enumerate(medians):
        axes.annotate(f" {median:,.0f}", (median + above[place], place), va="center", fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("changes a second")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f} k")
    return _saved(figure, axes, file)


def lines(file, title, series, labels):
    """A line for each series of pairs; returns the file. A rate of zero is drawn, so that none looks worse."""
    figure, axes = pyplot.subplots(figsize=(7, 3))
    for name, pairs in series.items():
        axes.plot([x for x, _ in pairs], [y for _, y in pairs], marker="o", markersize=3, label=name)
    axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    return _saved(figure, axes, file)


def _colour(name):
    if name.startswith("consumer"):
        return OWN
    return PEER if name.startswith("sink") else BOUND


def _saved(figure, axes, file):
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return file
