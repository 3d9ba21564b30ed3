"""Cases, and how they are measured: the arms take turns A B B A, medians and quartiles over the rounds."""

import dataclasses
import json
import statistics
import subprocess

from servers import LOAD_CORE, PANNIER, Floor, Missing, pinned

KEY_BYTES = 16
FRAME_BYTES = 68
SIZES = {32: "32 B", 100: "100 B", 1024: "1 KiB", 4096: "4 KiB", 16384: "16 KiB", 1 << 20: "1 MiB"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One load."""

    protocol: str
    depth: int
    op: str
    keys: int
    value_bytes: int
    connections: int = 50
    # Each request goes over a connection of its own.
    reconnect: bool = False

    @property
    def name(self):
        size = SIZES[self.value_bytes].replace(" ", "")
        how = "connect" if self.reconnect else f"depth{self.depth}"
        return f"{self.protocol}-{self.op.lower()}-{size}-{short(self.keys)}-{how}"

    def flags(self, server):
        protocol = self.protocol if self.protocol in server.protocols else server.protocols[0]
        return ["--protocol", protocol, "--connections", str(self.connections), "--pipeline", str(self.depth),
                "--keys", str(self.keys), "--value-size", str(self.value_bytes),
                "--reads", "100" if self.op == "GET" else "0", *(["--reconnect"] if self.reconnect else [])]

    def serves(self, server):
        return self.protocol in server.protocols or (self.protocol == "resp" and "memcached" in server.protocols)

    def floor(self):
        """A bare server of requests and replies as long as Pannier's."""
        value = self.value_bytes
        if self.protocol == "resp":
            head = len(f"*2\r\n$3\r\nGET\r\n${KEY_BYTES}\r\n\r\n") + KEY_BYTES
            bulk = len(f"${value}\r\n\r\n") + value
            request, reply = (head, bulk) if self.op == "GET" else (head + bulk, len("+OK\r\n"))
        else:
            request, reply = FRAME_BYTES + KEY_BYTES, FRAME_BYTES
            request, reply = (request, reply + value) if self.op == "GET" else (request + value, reply)
        return Floor(self.protocol, request, reply)


# A client that does not keep its connection: connect, one GET, close.
CONNECT = Case("resp", 1, "GET", 10_000, 32, reconnect=True)


def short(number):
    return {10_000: "10k", 1_000_000: "1M", 10_000_000: "10M"}.get(number, str(number))


def matrix(ten_million):
    """Every case of the full table. The key spaces grow, so that small ones are not looked for among large ones."""
    loads = [(10_000, 32, (1, 16, 100)), (10_000, 1024, (1, 16, 100))]
    # What services store, at the depths at which their clients send it.
    loads += [(10_000, 100, (1,)), (10_000, 4096, (16,)), (10_000, 16384, (1,))]
    loads += [(keys, 32, (1, 16, 100)) for keys in (1_000_000, 10_000_000)[:2 if ten_million else 1]]
    cases = [CONNECT]
    for keys, value, depths in loads:
        for depth in depths:
            cases += [Case("resp", depth, op, keys, value) for op in ("GET", "SET")]
    # Few connections: fifty values of 1 MiB on the way at once would measure the cache of the machine.
    cases += [Case("resp", 1, op, 50, 1 << 20, connections=4) for op in ("GET", "SET")]
    for protocol, depths in (("frames", (1, 16, 100)), ("udp", (1, 16, 64))):
        for depth in depths:
            cases += [Case(protocol, depth, op, 10_000, 32) for op in ("GET", "SET")]
    return cases


def quick():
    """A case of each kind."""
    return [Case("resp", 1, "GET", 10_000, 32), Case("resp", 100, "GET", 1_000_000, 32),
            Case("resp", 100, "SET", 1_000_000, 32), CONNECT, Case("resp", 1, "GET", 50, 1 << 20, connections=4),
            Case("frames", 16, "GET", 10_000, 32), Case("udp", 16, "GET", 10_000, 32)]


def bench(server, flags):
    """One run of the load; its report."""
    command = [PANNIER, "bench", "--json", "--server", server.address, "--server-pid", str(server.process.pid), *flags]
    result = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, check=False, timeout=600)
    if result.returncode != 0:
        raise Missing(f"{server.name}: {result.stderr.strip()} ({' '.join(flags)})")
    return json.loads(result.stdout)


def fill(server, case):
    """Writes every key, unless that was done."""
    if isinstance(server, Floor) or server.filled == (case.keys, case.value_bytes):
        return
    report = bench(server, [*case.flags(server), "--fill", "--requests", "1"])
    if report["fill"]["errors"]:
        raise Missing(f"{server.name} did not take all keys: {report['fill']['errors']}")
    server.filled = (case.keys, case.value_bytes)


def turn(server, flags, seconds, allow_misses=False, requests=None):
    """One turn of one arm, so long or of so many requests; every figure that is kept of it."""
    if isinstance(server, Floor):
        flags = [*flags, "--floor-reply", str(server.reply_bytes)]
    until = ["--requests", str(requests)] if requests else ["--duration", f"{seconds}s", "--warm-up", f"{seconds / 10}s"]
    report = bench(server, [*flags, *until])
    if report["errors"] or report["misses"] and not allow_misses:
        raise Missing(f"{server.name}: errors {report['errors']}, {report['misses']} misses ({' '.join(flags)})")
    latency = report["latency_us"]["all"]
    return {"cpu_ns": report["server_cpu_ns_per_request"], "rate": report["requests_per_second"],
            "p50_us": latency["p50"], "p99_us": latency["p99"], "p999_us": latency["p99.9"],
            "load_ns": report["load_cpu_ns_per_request"]}


def alternate(arms, rounds):
    """A B B A: each arm's pair in each round, as a mean. `arms` are functions of no argument that take one turn."""
    pairs = {name: [] for name in arms}
    for _ in range(rounds):
        taken = {name: [run()] for name, run in arms.items()}
        for name, run in reversed(arms.items()):
            taken[name].append(run())
        for name, (there, back) in taken.items():
            pairs[name].append({figure: (there[figure] + back[figure]) / 2 for figure in there})
    return pairs


def spread(values):
    """Median and quartiles."""
    if len(values) == 1:
        return {"median": values[0], "q1": values[0], "q3": values[0]}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def summarize(pairs, *bases):
    """Each arm's figures, and the ratios of its CPU time to the bases' in the same round."""
    results = {}
    for name, turns in pairs.items():
        results[name] = {figure: spread([taken[figure] for taken in turns]) for figure in turns[0]}
        for base in bases:
            ratios = [taken["cpu_ns"] / other["cpu_ns"] for taken, other in zip(turns, pairs[base])]
            results[name][f"cpu_to_{base}"] = spread(ratios)
    return results


def measure(case, servers, rounds, seconds):
    """One case of the table."""
    floor = case.floor()
    floor.start()
    try:
        arms = {}
        for server in [*[server for server in servers if case.serves(server)], floor]:
            fill(server, case)
            arms[server.name] = lambda server=server: turn(server, case.flags(server), seconds)
        return {**dataclasses.asdict(case), "rounds": rounds, "seconds": seconds,
                "arms": summarize(alternate(arms, rounds), "floor", "Pannier")}
    finally:
        floor.stop()


# What a service sends in turn, with how often of a hundred; values of all sizes from MIX_SIZES.
MIX = ("60 GET {key}", "15 SET {key} {value} EX 3600", "10 GETEX {key} EX 3600", "5 EXPIRE {key} 3600",
       "5 MGET" + " {key}" * 10, "3 INCR n:{key}", "2 DEL {key}")
MIX_SIZES = "100-16KiB"
MIX_FLAGS = ["--pipeline", "16", "--keys", "10000", "--value-size", MIX_SIZES]
# And each command by itself: values of 1 KiB, pipelines of 16, 100,000 keys that are there.
SERVICE = [("SET", "SET {key} {value}"), ("SET EX", "SET {key} {value} EX 3600"), ("SETEX", "SETEX {key} 3600 {value}"),
           ("GET", "GET {key}"), ("GETEX", "GETEX {key} EX 3600"), ("EXPIRE", "EXPIRE {key} 3600"), ("TTL", "TTL {key}"),
           ("EXISTS", "EXISTS {key}"), ("INCR", "INCR n:{key}"), ("SET NX", "SET {key} {value} NX"),
           ("MGET 10", "MGET" + " {key}" * 10), ("DEL", "DEL {key}")]
SERVICE_FLAGS = ["--pipeline", "16", "--keys", "100000", "--value-size", "1KiB"]


def measure_service(name, servers, rounds, seconds):
    """The mix, or one command, on every server that takes RESP."""
    commands, kept = (MIX, MIX_FLAGS) if name == "mix" else ([dict(SERVICE)[name]], SERVICE_FLAGS)
    flags = [*kept, *(word for command in commands for word in ("--command", command))]
    arms = {}
    for server in servers:
        # Those that DEL has taken away, or that were never there, are written.
        bench(server, [*kept, "--fill", "--requests", "1"])
        server.filled = None
        arms[server.name] = lambda server=server: turn(server, flags, seconds, allow_misses=True)
    return {"command": ", ".join(commands), "rounds": rounds, "seconds": seconds,
            "arms": summarize(alternate(arms, rounds), "Pannier")}


LARGE_FLAGS = ["--large-rate", "10", "--large-size", "10MiB"]


def measure_large(server, rate, rounds, seconds):
    """Latencies of small GETs, with and without ten large ones a second beside them."""
    case = Case("resp", 1, "GET", 10_000, 32)
    fill(server, case)
    flags = [*case.flags(server), *(["--rate", str(rate)] if rate else [])]
    arms = {"alone": lambda: turn(server, flags, seconds), "beside": lambda: turn(server, [*flags, *LARGE_FLAGS], seconds)}
    pairs = alternate(arms, rounds)
    ratios = [beside["p999_us"] / alone["p999_us"] for beside, alone in zip(pairs["beside"], pairs["alone"])]
    return {"server": server.name, "rate": rate, "rounds": rounds, "seconds": seconds, "ratio": spread(ratios),
            **{name: {figure: spread([taken[figure] for taken in turns]) for figure in ("p50_us", "p99_us", "p999_us")}
               for name, turns in pairs.items()}}


FILL_MEMORY_MIB = 256
FILL_SIZES = "0-200"


def fill_flags(keys, depth):
    return ["--keys", str(keys), "--value-size", FILL_SIZES, "--reads", "0", "--pipeline", str(depth)]


def capacity(server):
    """How many keys with values of these sizes the server takes: it is offered far more than fit."""
    report = bench(server, [*fill_flags(FILL_MEMORY_MIB * 2**20 // 60, 1), "--fill", "--requests", "1"])
    return report["fill"]["requests"] - sum(report["fill"]["errors"].values())


def measure_fill(make_server, shares, depths, rounds, seconds):
    """Rates of overwrites with values of other sizes, at several shares of the keys that fit."""
    probe = make_server(FILL_MEMORY_MIB)
    probe.start()
    try:
        fitting = capacity(probe)
    finally:
        probe.stop()
    servers = {share: make_server(FILL_MEMORY_MIB) for share in shares}
    results = []
    try:
        for share, server in servers.items():
            server.start()
            keys = fitting * share // 100
            # Twice over, so that every segment has been cleaned before anything is measured.
            bench(server, [*fill_flags(keys, 64), "--fill", "--requests", str(2 * keys)])
        for depth in depths:
            arms = {share: lambda share=share, server=server: turn(
                server, fill_flags(fitting * share // 100, depth), seconds) for share, server in servers.items()}
            pairs = alternate(arms, rounds)
            ratios = [full["rate"] / half["rate"] for half, full in zip(pairs[shares[0]], pairs[shares[1]])]
            results.append({"depth": depth, "fitting": fitting, "shares": shares, "ratio": spread(ratios),
                            "rates": [spread([taken["rate"] for taken in pairs[share]]) for share in shares],
                            "rounds": rounds, "seconds": seconds})
    finally:
        for server in servers.values():
            server.stop()
    return results
