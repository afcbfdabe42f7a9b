"""Check this machine's GPU: `make check-gpu`, or `python -m tests.benchmarks.gpu`.

Each check is a process of its own with a time limit, so that none stops or hides another. What is found goes to stdout,
and, where it was a GPU, to `reports/benchmarks/gpu.json`.

Exit: 0 all is as it should be, 1 something is not, 2 there is no GPU, or a package is missing.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.gpu import needs
from tests.benchmarks.gpu.findings import Finding, line, read, written

LIMITS = {
    "scores": 95,
    "images": 55,
    "true-size": 60,
    "memory": 70,
    "workers": 100,
    "speed-sd15": 85,
    "speed-sdxl": 115,
}
"""Seconds of each check, under ten minutes in all."""
ROOT = Path(__file__).parents[3]
MODULE = "tests.benchmarks.gpu"
ASKED = "name,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,power.limit,utilization.gpu"
OK, FAILED, WRONG = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of a check."""

    check: str
    findings: list[Finding]
    seconds: float
    fault: str = ""
    """Why it came to no end."""

    @property
    def holds(self) -> bool:
        return not self.fault and all(finding.holds for finding in self.findings)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {MODULE}", description="Check this machine's GPU.")
    parser.add_argument("check", nargs="?", choices=LIMITS, help="one check alone, its findings as JSON")
    parser.add_argument("--device", default="cuda", help="cpu is a rehearsal: small sizes, and nothing is recorded")
    given = parser.parse_args(words)
    if lacking := needs.missing():
        print(needs.told(lacking), file=sys.stderr)
        return WRONG
    if given.check is None:
        return check_all(given.device)
    from tests.benchmarks.gpu.catalogue import run_check  # takes the packages

    print(written(run_check(given.check, given.device)))
    return OK


def check_all(device: str) -> int:
    """One after the other."""
    import torch

    is_gpu = device.startswith("cuda")
    if is_gpu and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} finds no GPU here.", file=sys.stderr)
        return WRONG
    done: list[Ran] = []
    for check, limit in LIMITS.items():
        done.append(alone([sys.executable, "-m", MODULE, check, "--device", device], check, limit))
        print("\n".join(table(done[-1])), flush=True)
        if is_gpu:
            write(done)
    return OK if all(ran.holds for ran in done) else FAILED


def alone(command: Sequence[str], check: str, limit: float) -> Ran:
    """A check in a process of its own, which is ended with all that it started when its time is over."""
    started, fault, out = time.monotonic(), "", ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            out, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            fault = f"not done after {limit:g} seconds"
    if process.returncode and not fault:
        fault = f"ended with status {process.returncode}; why is said above"
    return Ran(
        check=check,
        findings=[] if fault else read(out.splitlines()[-1]),
        seconds=time.monotonic() - started,
        fault=fault,
    )


def table(ran: Ran) -> list[str]:
    """For people."""
    told = [f"{ran.check}, {ran.seconds:.0f} s", *map(line, ran.findings)]
    return [*told, f"  FAIL {ran.fault}"] if ran.fault else told


def write(done: Sequence[Ran]) -> None:
    """All so far, so that nothing is lost to whoever ends this early."""
    from tests.benchmarks import record

    figures = {finding.what: finding.value for ran in done for finding in ran.findings}
    rows: list[record.Row] = [{"gpu": about_gpu()}]
    for ran in done:
        rows.append({"check": ran.check, "holds": ran.holds, "seconds": ran.seconds, "fault": ran.fault})
        rows += [{"check": ran.check, **asdict(finding), "holds": finding.holds} for finding in ran.findings]
    record.write_record("gpu", figures, rows)


def about_gpu() -> dict[str, str]:
    """What the driver's own tool says of the first GPU; nothing where there is no such tool."""
    try:
        command = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader", "--id=0"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return dict(zip(ASKED.split(","), (value.strip() for value in told.split(",")), strict=False))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
