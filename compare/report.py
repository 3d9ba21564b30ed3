"""The results as a page of Markdown tables and as a drawing."""

import html
import os
import platform

from measure import SIZES

# Bars of one server have one colour in all panels; both backgrounds are dark or light enough for each.
COLOURS = {"floor": "#8a8f98", "Pannier": "#2f81f7", "Redis": "#d9534f", "Valkey": "#a371f7", "memcached": "#3fa45b"}
OTHER_COLOURS = ["#c98a1b", "#1b9e9e", "#b0568f"]


def machine():
    """One line on where this runs."""
    model = "an unknown processor"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    release = ".".join(platform.release().split(".")[:2])
    return f"{os.cpu_count()} cores of {model}, {platform.system()} {release}"


def micros(figure, digits=2):
    return f"{figure['median'] / 1e3:.{digits}f} ({figure['q1'] / 1e3:.{digits}f}–{figure['q3'] / 1e3:.{digits}f})"


def plain(figure, digits=2):
    return f"{figure['median']:.{digits}f} ({figure['q1']:.{digits}f}–{figure['q3']:.{digits}f})"


def title(case):
    size = SIZES[case["value_bytes"]]
    depth = "one at a time" if case["depth"] == 1 else f"{case['depth']} in flight"
    depth = "connect and close around each" if case.get("reconnect") else depth
    return f"{case['op']}, {size}, {case['keys']:,} keys, {depth}"


def tables(results):
    lines = []
    for protocol, heading in (("resp", "RESP over TCP"), ("frames", "Frames over TCP"), ("udp", "Frames over UDP")):
        cases = [case for case in results["cases"].values() if case["protocol"] == protocol]
        if not cases:
            continue
        lines += ["", f"## {heading}", "",
                  "| load | server | CPU a request, µs | beside the floor | Pannier's beside it | requests a second | p50, µs | p99, µs |",
                  "|---|---|---|---|---|---|---|---|"]
        for case in cases:
            for name, arm in case["arms"].items():
                figures = [title(case), name, micros(arm["cpu_ns"], 3 if case["depth"] > 1 else 2),
                           plain(arm["cpu_to_floor"]) + " ×", beside(name, arm), f"{arm['rate']['median']:,.0f}",
                           f"{arm['p50_us']['median']:,.0f}", f"{arm['p99_us']['median']:,.0f}"]
                lines.append("| " + " | ".join(figures) + " |")
    return lines


def beside(name, arm):
    """Pannier's CPU time beside that of this server, where it was measured."""
    is_other = name != "Pannier" and "cpu_to_Pannier" in arm
    return f"{1 / arm['cpu_to_Pannier']['median']:.2f} ×" if is_other else ""


def service_table(results):
    if not results.get("service"):
        return []
    return ["", "## What a service sends", "",
            "50 connections with 16 requests in flight each: CPU a request, and how it compares. The mix is 60 % GET, 15 % SET EX, 10 % GETEX,",
            "5 % EXPIRE, 5 % MGET of ten, 3 % INCR and 2 % DEL in turn, with values of 100 B to 16 KiB (any size as often as any other) under",
            "10,000 keys. Each command by itself has values of 1 KiB and 100,000 keys.", "",
            *command_rows(results["service"])]


def command_rows(entries):
    """A table of what commands cost on each server."""
    lines = ["| command | server | CPU a request, µs | Pannier's beside it | requests a second |", "|---|---|---|---|---|"]
    # The mix says most.
    for name, entry in sorted(entries.items(), key=lambda item: item[0] != "mix"):
        for arm, figures in entry["arms"].items():
            lines.append(f"| {name} | {arm} | {micros(figures['cpu_ns'])} | {beside(arm, figures)} | {figures['rate']['median']:,.0f} |")
    return lines


def collections_table(results):
    measured = results.get("collections")
    if not measured:
        return []
    lines = ["", "## Hashes, sets and a script", "",
             "10,000 hashes and as many sets of twenty members each, values of 32 bytes, 50 connections with 16 requests in flight",
             "each. *Unlock* is a script that deletes a key if it holds what is given; so many of *new* and *one's own* make a turn that",
             "most find no member, and a lock.", "",
             *command_rows(measured["commands"])]
    if measured["as_many"]:
        lines += ["", "HGETALL of twenty fields beside a GET whose reply has as many bytes, CPU a request in µs:", "",
                  "| server | HGETALL | GET | ratio |", "|---|---|---|---|"]
        lines += [f"| {entry['server']} | {micros(entry['hgetall_ns'])} | {micros(entry['get_ns'])} | {plain(entry['ratio'])} × |"
                  for entry in measured["as_many"]]
    return lines


def large_table(results):
    if not results.get("large"):
        return []
    lines = ["", "## A small GET beside ten GETs of 10 MiB a second", "",
             "p99.9 of GETs of 32 B over 50 connections, in µs; closed loop, or at a fixed rate.", "",
             "| server | pace | alone | beside | ratio |", "|---|---|---|---|---|"]
    for entry in results["large"].values():
        pace = f"{entry['rate']:,} a second" if entry["rate"] else "closed loop"
        alone, beside = (f"{entry[arm]['p999_us']['median']:,.0f}" for arm in ("alone", "beside"))
        lines.append(f"| {entry['server']} | {pace} | {alone} | {beside} | {plain(entry['ratio'])} × |")
    return lines


def fill_table(results):
    if not results.get("fill"):
        return []
    lines = ["", "## Overwrites by fill", "",
             "SETs of random sizes from 0 to 200 bytes over keys that are there, 50 connections; shares of the keys that fit.", "",
             "| in flight, each connection | at half, a second | at 90 %, a second | ratio |", "|---|---|---|---|"]
    for entry in results["fill"]:
        half, full = (f"{rate['median']:,.0f}" for rate in entry["rates"])
        lines.append(f"| {entry['depth']} | {half} | {full} | {plain(entry['ratio'])} × |")
    return lines


def builds(results):
    """What has to be said where rows were measured at different times."""
    several = any(" and " in version for version in results["versions"].values())
    text = "Rows of two builds were measured at different times, when the machine was not equally fast: compare servers within a row."
    return [text] if several else []


def averages(results):
    noted = sorted(float(average) for average in results["load_averages"])
    return f"{noted[0]} to {noted[-1]}" if noted else "not noted"


def markdown(results):
    lines = ["# Measured", "",
             "Made by `compare/run.sh`; [docs/benchmarks.md](../docs/benchmarks.md) tells how to read it. Medians, with quartiles in",
             "parentheses. The floor is `examples/floor.rs`: a server that moves the same bytes and does nothing else.", "",
             f"- Machine: {results['machine']}; the server on one core, the load on the other.",
             *(f"- {name} {version}" for name, version in results["versions"].items() if version),
             f"- Load averages at the beginnings and ends of what was measured: {averages(results)}",
             *(f"- {text}" for text in builds(results))]
    lines += service_table(results) + collections_table(results) + tables(results) + large_table(results) + fill_table(results)
    return "\n".join(lines) + "\n"


PANELS = [("mix", "A service's mix of commands, pipelines of 16"), ("resp-get-32B-10k-connect", "Connect, GET, close"),
          ("resp-get-32B-10k-depth1", "GET, one at a time"), ("resp-set-32B-10k-depth1", "SET, one at a time"),
          ("resp-get-32B-10k-depth16", "GET, pipelines of 16"), ("resp-set-32B-10k-depth16", "SET, pipelines of 16"),
          ("resp-get-32B-1M-depth100", "GET, pipelines of 100, a million keys"),
          ("resp-set-32B-1M-depth100", "SET, pipelines of 100, a million keys")]
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
  .whisker { stroke: #24292f; stroke-width: 1.2 } .axis { stroke: #8a8f98; stroke-width: 1 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .whisker { stroke: #e6edf3 }
  }
"""
COLUMN, LEFT, BAR, STEP, TOP = 400, 82, 16, 22, 74


def colour(name, others):
    return COLOURS.get(name) or OTHER_COLOURS[others.index(name) % len(OTHER_COLOURS)]


def panel(case, heading, others, x, y):
    """One panel: a bar for each server, with a whisker from quartile to quartile."""
    arms = sorted(case["arms"].items(), key=lambda arm: (arm[0] != "floor", arm[1]["cpu_ns"]["median"]))
    room = COLUMN - LEFT - 70
    scale = room / max(arm["cpu_ns"]["q3"] for _, arm in arms)
    parts = [f'<text class="title" x="{x}" y="{y}">{html.escape(heading)}</text>',
             f'<line class="axis" x1="{x + LEFT}" y1="{y + 8}" x2="{x + LEFT}" y2="{y + 12 + len(arms) * STEP}"/>']
    for index, (name, arm) in enumerate(arms):
        top, figure = y + 12 + index * STEP, arm["cpu_ns"]
        end, low, high = (x + LEFT + figure[key] * scale for key in ("median", "q1", "q3"))
        middle = top + BAR / 2
        parts += [f'<text x="{x + LEFT - 6}" y="{middle + 4.5:.1f}" text-anchor="end">{html.escape(name)}</text>',
                  f'<rect x="{x + LEFT}" y="{top}" width="{end - x - LEFT:.1f}" height="{BAR}" rx="2" fill="{colour(name, others)}"/>',
                  f'<line class="whisker" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>',
                  *(f'<line class="whisker" x1="{at:.1f}" y1="{middle - 4}" x2="{at:.1f}" y2="{middle + 4}"/>' for at in (low, high)),
                  f'<text x="{max(end, high) + 6:.1f}" y="{middle + 4.5:.1f}">{figure["median"] / 1e3:.2f}</text>']
    return parts, len(arms)


def chosen(results, wanted):
    """Those of the wanted cases and mixes that were measured, with their headings."""
    entries = {**results["cases"], **results.get("service", {})}
    return [(entries[name], heading) for name, heading in wanted if name in entries]


def drawing(results):
    """The panels whose cases were measured, two in a row; None if there are none."""
    found = chosen(results, PANELS)
    if not found:
        return None
    names = {name for case, _ in found for name in case["arms"]}
    others = sorted(names - set(COLOURS))
    rows = max(len(case["arms"]) for case, _ in found)
    height = 34 + rows * STEP
    total = TOP + (len(found) + 1) // 2 * height
    parts = []
    for index, (case, heading) in enumerate(found):
        drawn, _ = panel(case, heading, others, 16 + index % 2 * COLUMN, TOP + 14 + index // 2 * height)
        parts += drawn
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * COLUMN + 16} {total}" role="img" '
            f'aria-label="CPU time of the server for each request">\n<style>{STYLE}</style>\n'
            f'<text class="title" x="16" y="22">CPU time of the server for each request, in µs: shorter is better</text>\n'
            f'<text class="small" x="16" y="40">16-byte keys, 32-byte values (what a service sends: 100 B to 16 KiB), 50 connections; whiskers from quartile to quartile.</text>\n'
            f'<text class="small" x="16" y="56">floor: a server that moves the same bytes and does nothing else</text>')
    return "\n".join([head, *parts, "</svg>"]) + "\n"


PAGE_CASES = [*PANELS, ("resp-get-100B-10k-depth1", "GET of 100 B, one at a time"),
                ("resp-set-100B-10k-depth1", "SET of 100 B, one at a time"),
                ("resp-get-4KiB-10k-depth16", "GET of 4 KiB, pipelines of 16"),
                ("resp-set-4KiB-10k-depth16", "SET of 4 KiB, pipelines of 16"),
                ("resp-get-16KiB-10k-depth1", "GET of 16 KiB, one at a time"),
                ("resp-set-16KiB-10k-depth1", "SET of 16 KiB, one at a time"), ("resp-get-1MiB-50-depth1", "GET of 1 MiB"), ("resp-set-1MiB-50-depth1", "SET of 1 MiB"),
                ("frames-get-32B-10k-depth16", "GET by frames over TCP, 16 in flight"),
                ("udp-get-32B-10k-depth16", "GET by datagrams, 16 in flight"),
                ("udp-set-32B-10k-depth16", "PUT by datagrams, 16 in flight")]
PAGE_HEADING, PAGE_NEXT = "## Beside other servers\n", "## Memory\n"


def page_section(results):
    """A short table of docs/figures.md: CPU time for each request of every server."""
    found = chosen(results, PAGE_CASES)
    names = sorted({name for case, _ in found for name in case["arms"]}, key=lambda name: (name != "floor", name != "Pannier", name))
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    lines = [PAGE_HEADING.rstrip(), "",
             "![CPU time of the server for each request](../compare/results.svg)", "",
             "CPU time of the server for each request in µs, medians; keys of 16 bytes, values of 32 unless said otherwise.",
             "The floor is a server that moves the same bytes and does nothing else (`examples/floor.rs`). `compare/run.sh`",
             "prints all of this with quartiles, rates and latencies into [compare/RESULTS.md](../compare/RESULTS.md);",
             "[benchmarks.md](benchmarks.md) tells how to read it, and what a service's mix is.", "",
             f"Measured on {results['machine']}, server and load on a core each. {versions}.",
             *builds(results), "",
             "| load | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for case, heading in found:
        cells = [f"{case['arms'][name]['cpu_ns']['median'] / 1e3:.2f}" if name in case["arms"] else "" for name in names]
        lines.append("| " + " | ".join([heading, *cells]) + " |")
    lines += collections_lines(results)
    for entry in results.get("large", {}).values():
        if entry["server"] == "Pannier" and not entry["rate"]:
            lines += ["", f"p99.9 of small GETs is {entry['ratio']['median']:.2f} times as long while ten GETs of 10 MiB a second go on beside them."]
    for entry in results.get("fill", []):
        lines += ["", f"Overwrites of other sizes with {entry['depth']} in flight on each connection: "
                      f"{entry['ratio']['median']:.2f} × the rate at 90 % of the keys that fit, beside half of them."]
    return "\n".join(lines) + "\n\n"


def collections_lines(results):
    """CPU time for each command on hashes, sets and by a script, for docs/figures.md."""
    measured = results.get("collections")
    if not measured or not measured["commands"]:
        return []
    names = sorted({name for entry in measured["commands"].values() for name in entry["arms"]}, key=lambda name: (name != "Pannier", name))
    lines = ["", "Hashes and sets of twenty members, values of 32 bytes, 16 requests in flight on each connection (`compare/run.sh collections`):", "",
             "| command | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for command, entry in measured["commands"].items():
        cells = [f"{entry['arms'][name]['cpu_ns']['median'] / 1e3:.2f}" if name in entry["arms"] else "" for name in names]
        lines.append("| " + " | ".join([command, *cells]) + " |")
    for entry in measured["as_many"]:
        if entry["server"] == "Pannier":
            lines += ["", f"HGETALL of twenty fields takes {entry['ratio']['median']:.2f} times the CPU time of a GET of as many bytes."]
    return lines


def with_section(page, section):
    """The page with this section in place of the old one, or where there was none before the section that it comes before."""
    start = page.find(PAGE_HEADING)
    end = page.index(PAGE_NEXT)
    return page[:start if start >= 0 else end] + section + page[end:]
