#!/usr/bin/env python3
"""Pannier beside other servers and beside the least that a server can do, on this machine.

    compare/run.sh                        everything, in about twenty minutes; writes compare/results.*
    compare/run.sh --quick                a case of each kind, in under a minute
    compare/run.sh table --only resp-get  some of the cases; results of others are kept
    compare/run.sh --server 'keydb=keydb-server --port {port}'

The server has core 0, the load core 1. Nothing else should run meanwhile. Only Python's standard library is needed.
"""

import argparse
import json
import os
import sys
import time

import hashes
import measure
import report
import servers

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = ("table", "service", "collections", "large", "fill")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=["all", *PARTS, "report"],
                        help="what to measure; 'report' only writes the pages of what was measured before")
    parser.add_argument("--quick", action="store_true", help="under a minute: few cases, one round")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose names contain this")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and end")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=COMMAND",
                        help="another server; {port} in the command stands for its port")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="leave a server out")
    parser.add_argument("--ten-million", action="store_true", help="also with ten million keys")
    parser.add_argument("--rounds", type=int, help="rounds of A B B A [default: 5, quick 1]")
    parser.add_argument("--seconds", type=float, help="seconds of one turn [default: 0.5, quick 0.15]")
    parser.add_argument("--out", default=HERE, metavar="DIR", help="where results.json, RESULTS.md and results.svg go")
    parser.add_argument("--page", action="store_true", help="also write the section of docs/figures.md with these results")
    return parser.parse_args()


def load_results(path, fresh):
    """What was measured before, where only a part is measured now."""
    if not fresh and os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    return {"cases": {}, "large": {}, "fill": [], "load_averages": [], "versions": {}, "machine": ""}


def note_load(results):
    with open("/proc/loadavg", encoding="ascii") as file:
        results["load_averages"].append(file.read().split()[0])


def note_versions(results, arms):
    """What is measured; where rows are kept that another build was measured for, both are named."""
    for server in arms:
        before = results["versions"].get(server.name, "")
        kept = [version for version in before.split(" and ") if version and version != server.version]
        results["versions"][server.name] = " and ".join([*kept, server.version])


def run_table(options, arms, results):
    cases = measure.quick() if options.quick else measure.matrix(options.ten_million)
    for case in [case for case in cases if options.only in case.name]:
        begun = time.monotonic()
        measured = results["cases"][case.name] = measure.measure(case, arms, options.rounds, options.seconds)
        costs = ", ".join(f"{name} {arm['cpu_ns']['median'] / 1e3:.3f} µs ({arm['cpu_to_floor']['median']:.2f} ×)"
                          for name, arm in measured["arms"].items())
        print(f"{case.name}: {costs} [{time.monotonic() - begun:.0f} s]", flush=True)


def costs(entry):
    """A command's CPU time on each server, and Pannier's beside it."""
    return ", ".join(f"{arm} {figures['cpu_ns']['median'] / 1e3:.3f} µs (Pannier is "
                     f"{1 / figures['cpu_to_Pannier']['median']:.2f} ×)" for arm, figures in entry["arms"].items())


def run_service(options, arms, results):
    arms = [server for server in arms if "resp" in server.protocols]
    entries = results.setdefault("service", {})
    names = ["mix", *(["SET", "GET", "MGET 10"] if options.quick else dict(measure.SERVICE))]
    for name in [name for name in names if options.only in name]:
        entries[name] = measured = measure.measure_service(name, arms, options.rounds, options.seconds)
        print(f"service, {name}: {costs(measured)}", flush=True)


def run_collections(options, arms, results):
    arms = [server for server in arms if "resp" in server.protocols]
    measured = results.setdefault("collections", {"commands": {}, "as_many": []})
    wanted = [sent for sent in hashes.commands(options.quick) if options.only in sent.name]
    if options.quick:
        wanted = [sent for sent in wanted if sent.name in hashes.QUICK]
    for sent in wanted:
        entry = measured["commands"][sent.name] = hashes.measure_command(sent, arms, options.rounds, options.seconds)
        print(f"collections, {sent.name}: {costs(entry)}", flush=True)
    if options.only in hashes.AS_MANY:
        measured["as_many"] = [hashes.measure_as_many(server, options.rounds, options.seconds) for server in arms]
        for entry in measured["as_many"]:
            print(f"collections, HGETALL beside a GET of as many bytes, {entry['server']}: "
                  f"{entry['ratio']['median']:.2f} ×", flush=True)


def run_large(options, arms, results):
    for server in arms:
        for rate in ([None] if options.quick else [None, 10_000]):
            measured = measure.measure_large(server, rate, 1 if options.quick else 3, 1 if options.quick else 2)
            pace = f"{rate} a second" if rate else "closed loop"
            results["large"][f"{server.name}, {pace}"] = measured
            print(f"large, {server.name}, {pace}: p99.9 {measured['alone']['p999_us']['median']:.0f} µs alone, "
                  f"{measured['beside']['p999_us']['median']:.0f} beside, {measured['ratio']['median']:.2f} ×", flush=True)


def run_fill(options, results):
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, 1)
    results["fill"] = measure.measure_fill(servers.pannier, (50, 90), (1, 64), rounds, seconds)
    for entry in results["fill"]:
        print(f"fill, depth {entry['depth']}: {entry['rates'][0]['median']:,.0f} a second at half, "
              f"{entry['rates'][1]['median']:,.0f} at 90 %, {entry['ratio']['median']:.2f} ×", flush=True)


def write(results, directory):
    os.makedirs(directory, exist_ok=True)
    for name, text in (("results.json", json.dumps(results, indent=1) + "\n"), ("RESULTS.md", report.markdown(results)),
                       ("results.svg", report.drawing(results))):
        if text:
            with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
                file.write(text)
            print(f"wrote {os.path.join(directory, name)}")


def main():
    options = arguments()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.15 if options.quick else 0.5)
    if options.list:
        print("\n".join(case.name for case in measure.matrix(options.ten_million)))
        return
    path = os.path.join(options.out, "results.json")
    fresh = options.part == "all" and not options.only
    results = load_results(path, fresh)
    arms = []
    try:
        if options.part != "report":
            arms = [*servers.known(), *(servers.named(text) for text in options.server)]
            arms = [server for server in arms if server.name not in options.without]
            results["machine"] = report.machine()
            note_versions(results, arms)
            note_load(results)
            for server in arms:
                server.start()
        parts = PARTS if options.part == "all" else (options.part,)
        if "table" in parts:
            run_table(options, arms, results)
        if "service" in parts:
            run_service(options, arms, results)
        if "collections" in parts:
            run_collections(options, arms, results)
        if "large" in parts:
            run_large(options, arms, results)
        if "fill" in parts:
            run_fill(options, results)
        if options.part != "report":
            note_load(results)
    except servers.Missing as error:
        sys.exit(f"compare: {error}")
    finally:
        for server in arms:
            server.stop()
    write(results, options.out)
    if options.page:
        path = os.path.join(servers.ROOT, "docs", "figures.md")
        with open(path, encoding="utf-8") as file:
            page = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(report.with_section(page, report.page_section(results)))


if __name__ == "__main__":
    main()
