"""What the stages of one job share: spec, run directory, and things that are made once, when first asked for.

job = Job(spec, run, events)
job.renderer, job.prepared, job.benchmarks         each read when a stage first needs it, and kept
job.check_fingerprint                              of all that decides what the check finds
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.prepare import PreparedData, prepare, take_share
from rewardsmith.data.sources import source_digests
from rewardsmith.data.surveys.survey import BenchmarkPrompt
from rewardsmith.evaluation import Benchmark, BenchmarkRows
from rewardsmith.pipeline.directory import RunDirectory, file_sha256, place_fingerprint, versions
from rewardsmith.pipeline.embedded import EMBEDDED, Resources
from rewardsmith.pipeline.evaluating import as_embedded, as_text, held_out_rows, load_benchmark
from rewardsmith.pipeline.events import Events
from rewardsmith.protocols import Progress
from rewardsmith.records.checks import CheckRecord
from rewardsmith.rendering import Renderer, load_renderer
from rewardsmith.spec import Spec, digest
from rewardsmith.spec.evaluation import HELD_OUT
from rewardsmith.training.openrlhf.refusals import refuse_spec

if TYPE_CHECKING:
    from rewardsmith.pipeline.tracking import Announce, Tracking
    from rewardsmith.training.flight import Flown


def is_main_process() -> bool:
    """Whether this process writes files: the only one, or rank 0 under `accelerate launch` or `torchrun`."""
    return int(os.environ.get("RANK", "0")) == 0


class Job:
    """One spec at work in one run directory.

    Args:
        parent: the job whose data, tokenizer and benchmarks this one shares; its spec may differ in its seed only.
        share: of the parent's training prompts, 1 for all.
    """

    def __init__(
        self, spec: Spec, run: RunDirectory, events: Events, *, parent: Job | None = None, share: float = 1.0
    ) -> None:
        self.spec = spec
        self.run = run
        self.events = events
        self._parent = parent
        self._share = share
        self.checked: CheckRecord | None = None
        self.tracking: Tracking | None = None
        self._flown: Flown | None = None

    def fly(self) -> Flown:
        """The flight check, once a job; says what was found.

        Raises:
            ModelError: what the base, the adapter, the tokenizer or the template cannot do.
        """
        if self._parent:
            return self._parent.fly()
        if self._flown is None:
            from rewardsmith.training.flight import fly

            self._flown = fly(self.spec, self.resources.base, self.renderer)
            self.events.note(self._flown.said)
        return self._flown

    def announce(self, fingerprint: str) -> Announce:
        """Who is told of each step of a training with this fingerprint: the watcher, and the run's own trackers."""
        return self.tracking.steps(fingerprint, self.events.step) if self.tracking else self.events.step

    @cached_property
    def resources(self) -> Resources:
        """Embedded files and base model, made where the spec uses them."""
        if self._parent:
            return self._parent.resources
        return Resources.of(self.spec, self.events)

    @cached_property
    def renderer(self) -> Renderer:
        """The base model's tokenizer, prepared."""
        if self._parent:
            return self._parent.renderer
        base = self.spec.base_model
        return load_renderer(
            self.resources.base,
            revision=base.revision,
            chat_template_file=base.chat_template,
            max_length=self.spec.data.max_length,
            over_length=self.spec.data.over_length,
            conversational=self.spec.data.strings == "chat",
            special_tokens=self.spec.data.special_tokens,
        )

    @cached_property
    def prepared(self) -> PreparedData:
        """Pairs, read and tokenised. Where `check` ran before, its record stands for what the surveys found."""
        if self._parent:
            whole = self._parent.prepared
            if self._share == 1:
                return whole
            return take_share(whole, self.spec, self.renderer, self._share, fingerprint=self.check_fingerprint)
        prepared = self._prepare(survey=False, split=self.run.read_split() if self.checked else None)
        return replace(prepared, record=self.checked) if self.checked else prepared

    def survey(self) -> PreparedData:
        """The same pairs, and the data looked at as a whole."""
        if not self._parent:
            self.prepared = self._prepare(survey=True)
            self.run.write_split(self.prepared.table.is_held_out)
        return self.prepared

    def sample(self, rows: int) -> PreparedData:
        """A quick look at a part of the data: at most `rows` rows of each source."""
        return self._prepare(survey=True, sample=rows)

    def _prepare(
        self, *, survey: bool, split: NDArray[np.bool_] | None = None, sample: int | None = None
    ) -> PreparedData:
        return prepare(
            self.spec,
            self.renderer,
            fingerprint=self.check_fingerprint,
            embedded=self.resources.pairs,
            benchmarks=self._benchmark_prompts() if survey else {},
            survey=survey,
            split=split,
            sample=sample,
            progress=self.progress("reading pairs"),
        )

    def _benchmark_prompts(self) -> dict[str, list[BenchmarkPrompt]]:
        """What must not stand in the training data."""
        return {
            key: [BenchmarkPrompt(row.subset, row.id, row.prompt) for row in rows.rows]
            for key, (_, rows) in self.benchmarks.items()
        }

    @cached_property
    def benchmarks(self) -> dict[str, tuple[Benchmark, BenchmarkRows]]:
        """The spec's benchmarks by key, rows loaded; as plain text where the model is trained on plain text."""
        if self._parent:
            return self._parent.benchmarks
        found = {}
        for benchmark in self.spec.evaluation.benchmarks:
            kind, rows = load_benchmark(benchmark, self.resources.benchmark_data(benchmark.data))
            if benchmark.data == EMBEDDED:
                rows = as_embedded(rows)
            found[benchmark.key] = kind, as_text(rows) if self.spec.data.strings == "text" else rows
        return found

    @cached_property
    def evaluation_sets(self) -> dict[str, tuple[Benchmark, BenchmarkRows]]:
        """All that the model is asked, by key: the held-out pairs first, where there are any, then the benchmarks."""
        pairs = self.prepared.held_out
        held_out = {HELD_OUT: held_out_rows(pairs, self.prepared.record.held_out_origin)} if pairs else {}
        return {**held_out, **self.benchmarks}

    @cached_property
    def base_fingerprint(self) -> str:
        """Contents of the base model where it is local, else its id and revision."""
        if self._parent:
            return self._parent.base_fingerprint
        return place_fingerprint(self.resources.base, self.spec.base_model.revision)

    @cached_property
    def check_fingerprint(self) -> str:
        """Of everything that decides what the check finds: the pairs, and the benchmarks they must not contain."""
        benchmarks = [[key, rows.dataset.sha256, rows.dataset.source] for key, (_, rows) in self.benchmarks.items()]
        return digest([self.pairs_fingerprint, benchmarks])

    @cached_property
    def pairs_fingerprint(self) -> str:
        """Of everything that decides which pairs are kept and what their tokens are."""
        if self._parent:
            whole = self._parent.pairs_fingerprint
            return whole if self._share == 1 else digest([whole, "share", self._share])
        template = self.spec.base_model.chat_template
        return digest(
            {
                "spec": self.spec.fingerprint("data", "seed"),
                "sources": source_digests(self.spec.data, self.resources.pairs),
                "tokenizer": self.base_fingerprint,
                "template": file_sha256(Path(template)) if template and Path(template).is_file() else None,
                "versions": versions(),
            }
        )

    def progress(self, label: str) -> Progress:
        """A progress callback that reports under this label."""
        return lambda done, total: self.events.progress(label, done, total)


def supported_backend(spec: Spec) -> None:
    """Refuse, before anything is read, what the spec's backend would not follow.

    Raises:
        SpecError: a field that OpenRLHF would ignore.
    """
    if spec.backend == "openrlhf":
        refuse_spec(spec)
