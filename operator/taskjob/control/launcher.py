"""Creates pods: what the API server's answer to a launch means, and what becomes of launches that wait in vain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, assert_never

from taskjob.control.launches import Launches, Tries
from taskjob.control.mirror import Mirror
from taskjob.core.decisions import Launch
from taskjob.ports import Clock, Deposed, DeposedError, Gone, KubePort, Launched, Refused, Unreachable

RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
FAILED_CREATES: Final = 6
"""So many failures (500) in a row over one pod that is not there count as a refusal: some ten seconds of them."""

ANSWERING_SECONDS: Final = 5.0


class Answering:
    """Whether the API server answers: for some seconds now, without a gap as long as that."""

    def __init__(self) -> None:
        self._since = self._last = float("-inf")

    def heard(self, now: float) -> None:
        """A definite answer has come."""
        if now - self._last >= ANSWERING_SECONDS:
            self._since = now
        self._last = now

    def by(self, now: float) -> bool:
        """Whether it does so at `now`."""
        return now - self._last < ANSWERING_SECONDS <= now - self._since


class Launcher:
    """Sends the launches that `Launches` gave out, one try each."""

    def __init__(
        self,
        kube: KubePort,
        mirror: Mirror,
        clock: Clock,
        wake: Callable[[], None],
        launches: Launches,
        *,
        epoch: int,
    ) -> None:
        self._kube = kube
        self._mirror = mirror
        self._clock = clock
        self._wake = wake
        self._launches = launches
        self._epoch = epoch
        self.answering = Answering()

    async def launch(self, launch: Launch) -> float | None:
        """Create the pod, if it is wanted still. Until the answer is definite the attempt counts as launched: it may
        exist, and is to be asked for again in so many seconds."""
        tries = self._launches.tries(launch)
        again_in: float | None = RETRY_SECONDS[-1]  # after a defect of ours, too, only the same create can tell
        try:
            again_in = await self._create(launch, tries) if self._is_to_be_sent(launch, tries) else None
        finally:
            self._launches.answered(launch, definite=again_in is None)
        return again_in

    async def _create(self, launch: Launch, tries: Tries) -> float | None:
        doubted, tries.doubt = tries.doubt, True
        answer = await self._kube.launch(launch, self._epoch)
        tries.doubt = doubted or (isinstance(answer, Unreachable) and not answer.absent)
        if isinstance(answer, Unreachable) and tries.failures + 1 >= FAILED_CREATES and not tries.doubt:
            answer = Refused(500, answer.message)
        match answer:
            case Launched(pod):
                self.answering.heard(self._clock.elapsed())
                self._mirror.observe_pod(pod)
            case Deposed(message):
                raise DeposedError(message)
            case Refused(_, message):
                self._give_back(launch, message)
            case Gone():
                self._give_back(launch, f'namespace "{launch.job.namespace}" does not exist any more')
            case Unreachable():
                tries.failures += 1
                return pause(answer, tries.failures - 1)
            case _:
                assert_never(answer)
        return None

    def give_up(self, most: int) -> None:
        """Give back what waits behind creates that hang: what nobody wants any more, and, while the API server answers
        others, what has waited for long, so that others have its quota. In an outage all wait for its end. Where they
        hang no more, `most` may wait: what was decided meanwhile would keep others from being decided for long."""
        now = self._clock.elapsed()
        answering = self.answering.by(now)

        def in_vain(launch: Launch, since: float) -> bool:
            return not self._is_wanted(launch) or (answering and now - since >= ANSWERING_SECONDS)

        for launch in self._launches.withdraw(now, in_vain):
            message = (
                f'creating pods in namespace "{launch.job.namespace}" is answered slowly or not at all: see whether a '
                "webhook for its pods hangs; this one is asked for once others have been answered"
            )
            self._give_back(launch, message if self._is_wanted(launch) else None, asked=False)
        for launch in self._launches.beyond(most, now):
            self._give_back(launch, None)

    def _give_back(self, launch: Launch, refusal: str | None, *, asked: bool = True) -> None:
        """There is no pod, and none will come. `refusal` says why, None if nobody wants one or it can go on at once."""
        self._mirror.state.not_launched(launch.attempt, refusal, self._clock.now(), asked=asked)
        self._wake()

    def _is_wanted(self, launch: Launch) -> bool:
        tracked = self._mirror.state.jobs.get(launch.job.uid)
        if tracked is None or tracked.launching != launch.attempt:
            return False
        return not (tracked.job.cancel or tracked.job.suspend or tracked.job.deleting)

    def _is_to_be_sent(self, launch: Launch, tries: Tries) -> bool:
        """If not, it is done with. One that may have been carried out, or may be yet, is asked for whoever wants it."""
        if not tries.doubt:
            wanted = self._is_wanted(launch)
            if not wanted:
                self._give_back(launch, None)
            return wanted
        tracked = self._mirror.state.jobs.get(launch.job.uid)
        if tracked is None:  # with its TaskJob gone nobody wants a pod; if one came of it, the watch shows an orphan
            self._give_back(launch, None)
            return False
        return tracked.launching == launch.attempt  # otherwise the watch has shown the pod meanwhile


def pause(answer: Unreachable, failures: int) -> float:
    """In how many seconds to try the same again: as the server asks, and later each time."""
    return max(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)], answer.retry_after_seconds or 0)
