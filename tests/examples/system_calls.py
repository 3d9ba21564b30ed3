"""Checks a trace of system calls against the filter of a systemd unit.

    python3 system_calls.py TRACE UNIT        TRACE: what `strace -f -o TRACE` wrote
"""

import re
import subprocess
import sys


def groups():
    """What systemd's names of groups stand for."""
    text = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], capture_output=True, text=True, check=True).stdout
    found, current = {}, None
    for line in text.splitlines():
        if line.startswith("@"):
            current = found.setdefault(line.strip(), [])
        elif line.startswith("    ") and current is not None and not line.strip().startswith("#"):
            current.append(line.strip())
    return found


def expand(name, table):
    if not name.startswith("@"):
        return {name}
    return set().union(*(expand(part, table) for part in table[name]))


def allowed(unit, table):
    """The first line with SystemCallFilter allows, those with a tilde take away; @default is always allowed."""
    calls = expand("@default", table)
    with open(unit) as lines:
        for line in lines:
            if line.startswith("SystemCallFilter="):
                value = line.split("=", 1)[1].strip()
                for name in value.lstrip("~").split():
                    calls = calls - expand(name, table) if value.startswith("~") else calls | expand(name, table)
    return calls


def main():
    trace, unit = sys.argv[1:]
    with open(trace) as lines:
        used = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", lines.read(), re.MULTILINE))
    refused = used - allowed(unit, groups())
    print(f"{len(used)} system calls in use, refused: {sorted(refused) or 'none'}")
    sys.exit(1 if refused or not used else 0)


if __name__ == "__main__":
    main()
