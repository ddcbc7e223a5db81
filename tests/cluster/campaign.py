"""Every fault, one after the other, and a Markdown table of what one more run made of it: python tests/cluster/campaign.py"""

import argparse
import re
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from faults import FAULTS, finished_world, suffer
from slurm import cluster_of, missing

HEADER = (
    "| fault | while these jobs run | the disturbed run | one more run | seconds | kept | recomputed | half-written | tables |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose name and phase match this regular expression")
    parser.add_argument("--part", default="1/1", help="2/3 takes the second of every three")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell has ignored in the background, children included
    if lacking := missing():
        sys.exit(f"no private Slurm on this machine: {', '.join(lacking)}")
    part, parts = map(int, args.part.split("/"))
    chosen = [fault for fault in FAULTS if re.search(args.only, f"{fault.name} {fault.phase}")][part - 1 :: parts]
    bad = 0
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
        clusters = {count: cluster_of(Path(root) / f"slurm{count}", count) for count in (1, 3)}
        for cluster in clusters.values():
            cluster.start()
        try:
            (Path(root) / "finished").mkdir()
            undisturbed = finished_world(Path(root) / "finished")
            print(f"{HEADER}\n|{'---|' * 9}")
            for number, fault in enumerate(chosen):
                try:
                    outcome = suffer(fault, clusters[fault.nodes], undisturbed, Path(root) / f"fault{number}")
                except Exception as error:
                    bad += 1
                    print(f"| {fault.name} | {fault.phase} | {type(error).__name__}: {error} |", flush=True)
                    continue
                bad += not outcome.good
                row = [fault.name, fault.phase, outcome.first, "complete" if outcome.complete else "not complete"]
                row += [f"{outcome.seconds:.0f}", outcome.kept, outcome.recomputed, len(outcome.half_written)]
                row += [", ".join(outcome.different) or "equal"]
                print(f"| {' | '.join(map(str, row))} |", flush=True)
        finally:
            for cluster in clusters.values():
                cluster.stop()
    print(f"\n{len(chosen)} faults, {bad} not survived")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
