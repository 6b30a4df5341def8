"""Training through OpenRLHF: a `TrainJob` in, a checkpoint of ours and a `TrainRecord` out.

    record = train(TrainJob(...))

`train/openrlhf/` of the run directory holds everything that OpenRLHF reads and writes: the base, the rows, the scripts,
its log, what each step saw. Where the launcher is one that starts here, training is started and followed; where it is a
scheduler, the script is written and the user is told to submit it: the next call goes on from what it left. On several
machines the run directory must be on storage that all of them see.

A killed run continues from OpenRLHF's own resumable checkpoint (`training.checkpoint_every_steps`).

After its last step OpenRLHF evaluates the held-out texts with the weights that it then saves; `inside.py` wrote those
rewards down. The imported model must give the same, to what bfloat16 rounds: OpenRLHF computes every layer and the head
in it, we read the same weights in float32.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rewardsmith import bradley_terry
from rewardsmith.errors import ModelError, SpecError, UserError
from rewardsmith.modeling.checkpoint import save_checkpoint
from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import PaddedBatches, PairIds
from rewardsmith.modeling.loading import load_config, load_reward_model
from rewardsmith.modeling.stored import describe_foreign, forget_openrlhf
from rewardsmith.records.checks import Finding
from rewardsmith.records.files import write_json
from rewardsmith.records.training import TrainRecord
from rewardsmith.rendering import Renderer
from rewardsmith.statistics import largest_difference, within
from rewardsmith.training.job import TrainJob, checkpoint_record, margin_stop, monitor_finding, range_finding
from rewardsmith.training.metrics import MarginMonitor, StepLog, step_metrics
from rewardsmith.training.openrlhf.command import LAUNCH, OUT, SUBMIT, environment_of
from rewardsmith.training.openrlhf.refusals import refuse_spec
from rewardsmith.training.openrlhf.setup import Setup, is_dropout, is_finished, left_out, set_up, tidy, write_folder
from rewardsmith.training.openrlhf.steps import Begun, Stepped, StepReader, checksum
from rewardsmith.training.plan import number_prompts

_LOG = "log.txt"
_EVERY = 0.5  # seconds between looks at what was written


def train(job: TrainJob) -> TrainRecord:
    """Train for one epoch, or finish one that was interrupted or submitted.

    Raises:
        SpecError: OpenRLHF would not follow the spec.
        UserError: the training waits to be submitted.
        ModelError: base, environment or checkpoint cannot be used; OpenRLHF ended with an error.
        MarginStop: the monitor stopped training.
    """
    started = time.perf_counter()
    refuse_spec(job.spec)
    _refuse_several_processes()
    setup = set_up(job, environment_of(job.spec))
    write_folder(job, setup)
    watch = StepWatch(job, setup)
    if not is_finished(setup):
        _start(job, setup, watch)
    watch.look()
    stopped = watch.monitor.stopped
    compared = None if stopped else _import(job, setup, watch)
    record = _summarise(job, setup, watch, compared, time.perf_counter() - started)
    write_json(job.folder / "summary.json", record)
    if stopped:
        raise margin_stop(record.monitor, setup.plan.steps)
    tidy(setup)
    return record


def _refuse_several_processes() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SpecError(
            "OpenRLHF starts its own processes, and this is one of several already",
            where="backend",
            fix="start it without accelerate launch or torchrun",
        )


def _start(job: TrainJob, setup: Setup, watch: StepWatch) -> None:
    launcher = job.spec.openrlhf.launcher
    if launcher in SUBMIT:
        watch.look()
        seen = len(watch.monitor.steps)
        raise UserError(
            f"the training waits to be submitted, or has not finished ({seen} of {setup.plan.steps} steps so far)",
            where=str(setup.folder),
            fix=f"cd {setup.folder} && {SUBMIT[launcher]}; when it has ended, run this command again",
        )
    with launched(setup.folder) as running:
        if _follow(running, watch):
            return
    running.require_success()
    if not is_finished(setup):
        raise ModelError(
            "OpenRLHF ended without saying that it finished",
            where=str(setup.folder / _LOG),
            fix="look at the log and run again",
        )


def _follow(running: Running, watch: StepWatch) -> bool:
    """Take in steps until the processes end; True when the monitor stopped them."""
    while not running.wait(_EVERY):
        if watch.look():
            running.end()
            return True
    return watch.look()


class StepWatch:
    """Takes what the processes wrote into the step log and the margin monitor, while they run."""

    def __init__(self, job: TrainJob, setup: Setup) -> None:
        self._job, self._setup = job, setup
        self._prompts_P = number_prompts(job.pairs)
        self._reader = StepReader(setup.folder / "steps", setup.processes)
        self.log = StepLog(job.folder)
        self.resumed = 0
        self._begin(0)

    def _begin(self, step: int) -> None:
        seen = self.log.cut_to(step)
        self.monitor = MarginMonitor(self._job.spec.training.monitor, self._setup.plan.steps, seen)
        self.resumed = step

    def look(self) -> bool:
        """Take in what is new; True when the monitor says that training must stop.

        Raises:
            ModelError: the loss is no number, or other token ids than ours were read.
        """
        for event in self._reader.read():
            if isinstance(event, Begun):
                self._begin(event.step)
            elif self._step(event):
                return True
        return False

    def _step(self, stepped: Stepped) -> bool:
        rows = self._setup.dealt.verify(stepped)
        indices = [self._setup.index[row] for row in rows]
        chosen, rejected = np.array(stepped.all("chosen")), np.array(stepped.all("rejected"))
        if not (np.isfinite(chosen).all() and np.isfinite(rejected).all()):
            raise ModelError(
                f"a reward is no number at step {stepped.step}: training has diverged",
                where="training.learning_rate",
                fix="lower it or raise training.warmup",
            )
        first = stepped.rows[0]
        metrics = step_metrics(
            step=stepped.step,
            chosen=chosen,
            rejected=rejected,
            prompts=len(np.unique(self._prompts_P[indices])),
            tokens=sum(row["tokens"] for row in stepped.rows),
            loss=bradley_terry.loss(chosen, rejected),
            grad_norm=first["grad_norm"],
            learning_rate=first["lr"],
            seconds=first["seconds"],
        )
        self.log.append(metrics, indices, chosen - rejected)
        if self._job.announce is not None:
            self._job.announce(metrics, self._setup.plan.steps)
        return self.monitor.observe(metrics)


_EXCEPTION = re.compile(r"(\[rank\d+\]: )?[\w.]+(Error|Exception|Interrupt|Exit)\b")
_PATIENCE = 20.0  # seconds between asking a process to end and ending it


class Running:
    """A launcher and the processes below it, in a session of their own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, begin: int) -> None:
        self._process = process
        self._log = log
        self._begin = begin

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; True when it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def end(self) -> None:
        """End the launcher and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            if self.wait(_PATIENCE):
                break
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what outlived its launcher

    def require_success(self) -> None:
        """Refuse to go on after a failure.

        Raises:
            ModelError: it ended with an error; the message shows the line that says so.
        """
        code = self._process.returncode
        if code:
            said = self._log.read_bytes()[self._begin :].decode("utf-8", errors="replace")
            raise ModelError(
                f"OpenRLHF ended with code {code}: {first_fault(said)}",
                where=str(self._log),
                fix="fix what the log says and run again; a resumable checkpoint is kept where one was written",
            )


@contextlib.contextmanager
def launched(folder: Path) -> Iterator[Running]:
    """Run `launch.sh` of a folder with its output in `log.txt`; nothing of it outlives the block."""
    log = folder / _LOG
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - a script of `command.py`
            ["/bin/bash", str(folder.resolve() / LAUNCH)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running = Running(process, log, begin)
        try:
            yield running
        finally:
            if not running.wait(0):
                running.end()


def first_fault(said: str) -> str:
    """The first line that is an exception, because the others follow from it; without one the last line there is."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    faults = [line for line in lines if _EXCEPTION.match(line)]
    return (faults or lines[-1:] or ["it wrote nothing"])[0][:300]


RELATIVE = 2.0**-6
"""Of the largest reward: bfloat16 keeps 8 bits, and a reward is rounded once for each layer that feeds it."""
OF_SPREAD = 0.1
"""Of the rewards' standard deviation, by the root mean square of the differences."""


class Compared(NamedTuple):
    """How far the imported model's rewards are from OpenRLHF's own, over `texts` texts."""

    texts: int
    largest: float
    root_mean_square: float
    spread: float


def _import(job: TrainJob, setup: Setup, watch: StepWatch) -> Compared:
    """Write OpenRLHF's checkpoint as one of ours, once its rewards agree with those that OpenRLHF computed.

    Raises:
        ModelError: steps are missing, it cannot be loaded, or its rewards are not OpenRLHF's.
    """
    seen, source = len(watch.monitor.steps), setup.folder / OUT
    if seen != setup.plan.steps:
        raise ModelError(
            f"OpenRLHF trained {seen} steps where {setup.plan.steps} were planned",
            where=str(setup.folder / "steps"),
            fix="look at log.txt beside it; delete the folder to train again",
        )
    found = _compare_with_openrlhf(source, job.renderer, setup.evaluation)
    foreign = describe_foreign(load_config(source))
    model = load_reward_model(source, dtype="auto")
    model.score.to(next(model.parameters()).dtype)
    forget_openrlhf(model.config)
    _restore(model.config, load_config(job.base))
    record = checkpoint_record(job).model_copy(update={"normalization": foreign.normalization})
    save_checkpoint(job.model_folder, model, job.renderer, record)
    return found


def _compare_with_openrlhf(source: Path, renderer: Renderer, evaluation: Sequence[PairIds]) -> Compared:
    """Rewards of the saved weights by our forward, beside those that OpenRLHF computed with them."""
    theirs = _their_rewards(source.parent / "rewards")
    texts = {checksum(ids_T): ids_T for pair in evaluation for ids_T in pair}
    known = [key for key in texts if key in theirs]
    if not known:
        raise ModelError(
            "OpenRLHF left no reward of the evaluation set, so its checkpoint cannot be verified",
            where=str(source.parent / "rewards"),
            fix="delete the folder above it and train again",
        )
    layout = PaddedBatches(renderer.record.pad_token_id)
    ours = compute_rewards(load_reward_model(source), [texts[key] for key in known], layout, token_budget=4096)
    return compare(ours, np.array([theirs[key] for key in known]), where=str(source))


def compare(ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], *, where: str) -> Compared:
    """Compare two sets of rewards of the same texts.

    Raises:
        ModelError: they differ by more than bfloat16 rounds (`RELATIVE`, `OF_SPREAD`).
    """
    difference = ours - theirs
    found = Compared(
        texts=len(ours),
        largest=largest_difference(ours, theirs),
        root_mean_square=float(np.sqrt(np.mean(difference**2))),
        spread=float(theirs.std()),
    )
    rounding = RELATIVE * float(np.abs(theirs).max())
    if not within(found.root_mean_square, max(OF_SPREAD * found.spread, rounding)):
        raise ModelError(
            f"the imported model's rewards are not OpenRLHF's: they differ by {found.root_mean_square:.3g} "
            f"(root mean square over {found.texts} texts), their standard deviation is {found.spread:.3g}",
            where=where,
            fix="its version saves or reads rewards in another way; train with 0.9.8 to 0.11.2, or backend: trl",
        )
    return found


def _their_rewards(folder: Path) -> dict[int, float]:
    """OpenRLHF's rewards by the checksum of the token ids."""
    found: dict[int, float] = {}
    for path in sorted(folder.glob("rank-*.jsonl")):
        row = json.loads(path.read_text(encoding="utf-8"))
        for side in ("chosen", "rejected"):
            found |= dict(zip(row[f"{side}_ids"], row[side], strict=True))
    return found


def _restore(config: Any, base: Any) -> None:
    """What OpenRLHF and `write_start` switched off for training comes back: it is the base's, not the training's."""
    for name, value in base.to_dict().items():
        if name == "use_cache" or is_dropout(name):
            setattr(config, name, value)


def _summarise(job: TrainJob, setup: Setup, watch: StepWatch, compared: Compared | None, seconds: float) -> TrainRecord:
    steps, plan = watch.monitor.steps, setup.plan
    verdict = watch.monitor.conclude(watch.log.margins(), job.pairs)
    outside = range_finding(job.spec.training.reward_range, steps)
    return TrainRecord(
        fingerprint=job.fingerprint,
        data_fingerprint=job.data_fingerprint,
        backend="openrlhf",
        base_model=job.spec.base_model.id,
        base_parameters=job.base_size.parameters or 0,
        policy_parameters=job.policy_size.parameters,
        trainable_parameters=job.base_size.parameters or 0,
        adapter="none",
        layout="packed" if job.spec.openrlhf.packing else "padded",
        device=plan.device,
        dtype="bfloat16",
        processes=setup.processes,
        pairs=plan.steps * plan.pairs_per_step,
        pairs_per_step=plan.pairs_per_step,
        steps=len(steps),
        prompts_per_step=float(np.mean([step.prompts for step in steps])),
        # A submitted training took its time elsewhere.
        seconds=max(seconds, sum(step.seconds for step in steps)),
        pairs_per_second=sum(step.pairs for step in steps) / max(sum(step.seconds for step in steps), 1e-9),
        tokens=sum(step.tokens for step in steps),
        peak_memory=_peak_memory(setup),
        resumed_from_step=watch.resumed or None,
        first_loss=steps[0].loss,
        last_loss=steps[-1].loss,
        monitor=verdict,
        reward_range=job.spec.training.reward_range,
        outside_reward_range=outside[0].count if outside else 0,
        findings=(*outside, *monitor_finding(verdict), *_left_out_finding(job, setup), *_import_finding(compared)),
    )


def _peak_memory(setup: Setup) -> int:
    """Highest use of rank 0 in bytes, as `inside.py` wrote it; 0 where it did not finish."""
    try:
        return int(json.loads((setup.folder / "finished.json").read_text(encoding="utf-8"))["peak_memory"])
    except (OSError, ValueError, KeyError):
        return 0


def _left_out_finding(job: TrainJob, setup: Setup) -> tuple[Finding, ...]:
    pairs = left_out(job, setup)
    if not pairs:
        return ()
    tail = sum(pair.reason == "incomplete_step" for pair in pairs)
    other = f"; {len(pairs) - tail} have no text that gives their shortened tokens" if len(pairs) > tail else ""
    return (
        Finding(
            code="left_out",
            severity="note",
            title="OpenRLHF left pairs out",
            meaning=f"{tail} pairs fill no whole step of {setup.plan.pairs_per_step}{other}",
            why="OpenRLHF drops what fills no step; train/left_out.jsonl names the pairs",
            fix="choose training.pairs_per_step so that it divides the number of pairs; the TRL backend drops none",
            count=len(pairs),
            of=len(job.pairs),
        ),
    )


def _import_finding(compared: Compared | None) -> tuple[Finding, ...]:
    if compared is None:
        return ()
    return (
        Finding(
            code="imported",
            severity="note",
            title="OpenRLHF's checkpoint gives OpenRLHF's rewards",
            meaning=f"over {compared.texts} texts they differ by {compared.root_mean_square:.2g} (root mean square; at "
            f"most {compared.largest:.2g}), the rewards' standard deviation is {compared.spread:.2g}",
            why="OpenRLHF computes in bfloat16, and the same weights are read here in float32",
            fix="nothing to do: the difference is what bfloat16 rounds",
            count=0,
            of=compared.texts,
        ),
    )
