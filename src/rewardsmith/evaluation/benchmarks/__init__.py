"""The benchmarks of the registry (`rewardsmith.benchmarks`) as values: what scores, judges and compares asks here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from rewardsmith import benchmarks
from rewardsmith.errors import BenchmarkError
from rewardsmith.evaluation.contract import Benchmark
from rewardsmith.spec.section import nearest


class _Benchmarks(Mapping[str, Benchmark]):
    """The registry as a mapping; each benchmark's module is imported when it is asked for."""

    def __getitem__(self, name: str) -> Benchmark:
        return cast("Benchmark", benchmarks.declared(name))

    def __iter__(self) -> Iterator[str]:
        return iter(benchmarks.BENCHMARKS)

    def __len__(self) -> int:
        return len(benchmarks.BENCHMARKS)


BENCHMARKS = _Benchmarks()


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        BenchmarkError: there is none; the names there are stand in the message.
    """
    if name not in BENCHMARKS:
        raise BenchmarkError(f"unknown benchmark {name!r}", where="benchmark", fix=nearest(name, BENCHMARKS))
    return BENCHMARKS[name]
