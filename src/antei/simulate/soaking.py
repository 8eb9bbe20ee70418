"""`make soak`: clusters under faults by the thousand, told as they go; the first broken rule is made small.

    python -m antei.simulate.soaking --seeds 10000 --from 0          as many, on all cores
    python -m antei.simulate.soaking --replay 8731                   one, step by step
    python -m antei.simulate.soaking --replay 8731 --shrink          the fewest of its faults that break the same rule

Exit code 0: every rule held. 1: one did not. 2: the command line is wrong. 3: a worker was killed, for want of
memory perhaps. 130: stopped by Ctrl-C. Both say how to go on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

from antei.simulate.fault_schedule import schedule
from antei.simulate.soak import Held, Soak, quiet, shrink, soak, soak_seed

__all__ = ["main"]

_TELL_EACH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    quiet()
    if asked.replay is not None:
        return _replay(asked.replay, is_shrunk=asked.shrink)
    return _soak(range(asked.first, asked.first + asked.seeds), asked.workers, keeps_going=asked.keep_going)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m antei.simulate.soaking", description="Clusters under faults.")
    parser.add_argument("--seeds", type=_count, default=10_000, metavar="COUNT", help="how many (10000)")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="SEED", help="the first of them (0)")
    parser.add_argument("--workers", type=int, default=0, metavar="COUNT", help="processes; as many as there are cores")
    parser.add_argument("--keep-going", action="store_true", help="tell of each broken rule, and shrink none")
    parser.add_argument("--replay", type=int, metavar="SEED", help="one seed, each step printed")
    parser.add_argument("--shrink", action="store_true", help="with --replay: the fewest faults instead of the steps")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def _soak(seeds: range, workers: int, *, keeps_going: bool) -> int:
    done = faults = broken = 0
    with closing(soak(Soak(), seeds, workers=workers)) as found:
        try:
            for held in found:
                done, faults = done + 1, faults + held.faults
                if held.broken is not None:
                    broken += 1
                    _say(f"seed {held.seed}: {held.broken}")
                    if not keeps_going:
                        found.close()
                        _say_fewest(held)
                        return 1
                if done % _TELL_EACH == 0:
                    _say(f"{done} of {len(seeds)} seeds, {faults} faults, {broken or 'none'} broken")
        except (KeyboardInterrupt, BrokenProcessPool) as end:
            rest = f"SEEDS={len(seeds) - done} FROM={seeds.start + done}"
            why = (
                "stopped" if isinstance(end, KeyboardInterrupt) else "a worker was killed, perhaps for want of memory,"
            )
            _say(f"\n{why} after {done} seeds, {broken or 'none'} of them broken; the rest is: make soak {rest}")
            return 130 if isinstance(end, KeyboardInterrupt) else 3
    sys.stdout.write(f"{done - broken} of {done} seeds held every rule, with {faults} faults\n")
    return 1 if broken else 0


def _replay(seed: int, *, is_shrunk: bool) -> int:
    held = soak_seed(Soak(), seed, tell=None if is_shrunk else _print)
    if held.broken is None:
        _say(f"seed {seed}: every rule held for {held.seconds:g} s with {held.faults} faults")
        return 0
    _say(f"seed {seed}: {held.broken}")
    if is_shrunk:
        _say_fewest(held)
    return 1


def _say_fewest(held: Held) -> None:
    assert held.broken is not None
    _say(f"looking for the fewest of {len(schedule(held.seed))} faults that break {held.broken.rule}")
    fewest = shrink(Soak(), held.seed, held.broken.rule)
    again = soak_seed(Soak(schedule=fewest), held.seed).broken
    if again is not None:
        _say(f"with these {len(fewest)}: {again}")
    for fault in fewest:
        _say(f"  {fault}")
    _say(f"step by step: python -m antei.simulate.soaking --replay {held.seed}")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
