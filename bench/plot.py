# SPDX-License-Identifier: Apache-2.0
"""An SVG of the suite: a group of bars a row, a bar a contender, its height the ratio to native on a logarithmic scale."""
import math
import statistics

COLOURS = ["#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#777777"]
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1100, 420, 60, 40, 60


def ratios(data, rows):
    """(base, {contender: {row: median of the ratios inside each round}})"""
    base = "native" if "native" in data else next(iter(data))
    out = {}
    for name, own in data.items():
        if name == base:
            continue
        out[name] = {r: statistics.median(a / b for a, b in zip(own[r], data[base][r]))
                     for r in rows if r in own and r in data[base]}
    return base, out


def text(x, y, what, anchor="middle", size=12):
    what = what.replace("&", "&amp;").replace("<", "&lt;")
    return '<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>' % (x, y, anchor, size, what)


def scale_lines(low, high, y_of):
    for power in range(low, high + 1):
        for step in (1, 2, 5):
            value = step * 10.0 ** power
            if power == high and step > 1:
                break
            yield '<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="%s"/>' % (
                LEFT, WIDTH, y_of(value), y_of(value), "#888" if value == 1 else "#ddd")
            yield text(LEFT - 6, y_of(value) + 4, "%g" % value, "end")


def write(path, data, rows):
    base, r = ratios(data, rows)
    rows = [row for row in rows if any(row in own for own in r.values())]
    values = [v for own in r.values() for v in own.values()]
    if not values:
        return
    low, high = min(0, math.floor(math.log10(min(values)))), max(1, math.ceil(math.log10(max(values))))

    def y_of(v):
        return HEIGHT - BOTTOM - (math.log10(v) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    group = (WIDTH - LEFT) / len(rows)
    bar = group * 0.8 / len(r)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif">' % (WIDTH, HEIGHT),
           '<rect width="100%" height="100%" fill="white"/>',
           text(LEFT, 20, "time of each row, as a multiple of %s (median of the rounds; lower is better)" % base, "start", 14)]
    out += scale_lines(low, high, y_of)
    for i, row in enumerate(rows):
        out.append(text(LEFT + (i + 0.5) * group, HEIGHT - BOTTOM + 18, row))
        for k, (name, own) in enumerate(r.items()):
            if row in own:
                top, bottom = sorted((y_of(own[row]), y_of(1)))
                out.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s %s: %.2f</title></rect>' % (
                    LEFT + (i + 0.1) * group + k * bar, top, bar, bottom - top, COLOURS[k % len(COLOURS)], row, name, own[row]))
    for k, name in enumerate(r):
        x = LEFT + k * 170
        out.append('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>' % (x, HEIGHT - 26, COLOURS[k % len(COLOURS)]))
        out.append(text(x + 18, HEIGHT - 16, name, "start"))
    with open(path, "w") as f:
        f.write("\n".join(out + ["</svg>"]) + "\n")
