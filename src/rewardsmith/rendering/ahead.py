"""Render chunks of pairs in other processes, while this one looks at the chunks before.

    with RenderAhead(renderer) as ahead:
        later = ahead.render(pairs, places)      # begins, in another process where one is up
        later()                                  # list[RenderedPair], as `renderer.render_pairs` gives it

Rendering is Python work on one core: half of the time that a million pairs take. A helper process costs seconds to
start, so the first chunks are rendered here, and the process is used from when it is ready. It gets the renderer, sends
back ids, and answers one chunk at a time; a thread of this process waits for it. Where a helper cannot start or dies
(no memory, say), its thread renders with a copy of the renderer: slower, and the same ids.

    main()           the helper's own program: pickles on stdin, pickles on stdout
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from rewardsmith.errors import RewardsmithError
from rewardsmith.rendering.renderer import RenderedPair, Renderer
from rewardsmith.types import PreferencePair

Later = Callable[[], list[RenderedPair]]
_ALONE = 16  # chunks that are rendered here before helpers are worth their start
_MOST = 2  # reading and checking keep this process as busy as two helpers


class RenderAhead:
    """Renders here, or in helpers once there is enough to do.

    Args:
        renderer: what renders.
        processes: how many helpers; by default as many as there are spare cores, two at most, and none on one core.
        alone: chunks that are rendered here first.
    """

    def __init__(self, renderer: Renderer, *, processes: int | None = None, alone: int = _ALONE) -> None:
        self._renderer = renderer
        self._processes = min(_MOST, _cores() - 1) if processes is None else processes
        self._alone = alone
        self._helpers: list[_Helper] = []
        self._threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self.ready = threading.Event()
        """Set once a helper renders."""

    def __enter__(self) -> RenderAhead:
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.stop()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for helper in self._helpers:
            helper.bury()

    def render(self, pairs: Sequence[PreferencePair], places: Sequence[str]) -> Later:
        """Begin to render a chunk. What the renderer raises is raised here or by the returned function.

        Args:
            pairs: prompt, chosen and rejected.
            places: what to call each pair in an error.
        """
        self._alone -= 1
        if self._alone < 0 and self._threads is None and self._processes > 0:
            self._start()
        if self._threads is not None and self.ready.is_set():
            return self._threads.submit(lambda: self._local.render(pairs, places=places)).result
        rendered = self._renderer.render_pairs(pairs, places=places)
        return lambda: rendered

    def _start(self) -> None:
        """Begin to start the helpers; nobody waits for them."""
        try:
            renderer = pickle.dumps(self._renderer)
        except (pickle.PickleError, TypeError, AttributeError):  # a tokenizer of its own making
            self._processes = 0
            return
        self._helpers = [_Helper(renderer) for _ in range(self._processes)]
        waiting = iter(list(self._helpers))
        self._threads = ThreadPoolExecutor(self._processes, initializer=lambda: self._meet(next(waiting)))
        for _ in self._helpers:
            self._threads.submit(self.ready.set)

    def _meet(self, helper: _Helper) -> None:
        """In a thread of its own: start its helper and wait until it is up."""
        helper.start()
        self._local.render = helper.render


class _Helper:
    """A process that renders, seen from the one thread that talks to it."""

    def __init__(self, renderer: bytes) -> None:
        self._setup = renderer
        self._process: subprocess.Popen[bytes] | None = None
        self._copy: Renderer | None = None
        self._stopped = False

    def start(self) -> None:
        """Start the process; returns when it has the renderer."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this module
                [sys.executable, "-c", f"from {__name__} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is for this process, which then stops its helpers
            )
            _ask(self._process, self._setup)
        except _LOST:
            self.bury()

    def render(self, pairs: Sequence[PreferencePair], *, places: Sequence[str]) -> list[RenderedPair]:
        """As `Renderer.render_pairs`."""
        if self._process is not None:
            try:
                answer = _ask(self._process, pickle.dumps((pairs, places)))
            except _LOST:
                self.bury()
            else:
                if isinstance(answer, RewardsmithError):
                    raise answer
                rendered: list[RenderedPair] = answer
                return rendered
        if self._stopped:
            return []
        if self._copy is None:
            self._copy = pickle.loads(self._setup)  # noqa: S301 - written by this process
        return self._copy.render_pairs(pairs, places=places)

    def stop(self) -> None:
        """Kill the process, whatever it does; its thread gets EOF."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def bury(self) -> None:
        """Leave nothing of the process behind."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(OSError):  # what was not sent cannot be sent any more
                self._process.communicate()
            self._process = None


def _ask(process: subprocess.Popen[bytes], message: bytes) -> Any:
    """Send a message, wait for the answer."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("a helper is started with pipes")
    process.stdin.write(message)
    process.stdin.flush()
    return pickle.load(process.stdout)  # noqa: S301 - written by our own helper


_LOST = (OSError, EOFError, pickle.PickleError, ImportError, AttributeError)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """The helper's life: a renderer, then chunks until there are no more."""
    renderer: Renderer = pickle.load(requests)  # noqa: S301 - written by the process that started this one
    _answer(answers, None)
    while True:
        try:
            pairs, places = pickle.load(requests)  # noqa: S301
        except EOFError:
            return
        try:
            answer: object = renderer.render_pairs(pairs, places=places)
        except RewardsmithError as error:
            answer = error
        _answer(answers, answer)


def _answer(answers: IO[bytes], value: object) -> None:
    answers.write(pickle.dumps(value))
    answers.flush()


def main() -> None:
    """The program of a helper process."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand between the answers
    _serve(sys.stdin.buffer, answers)
