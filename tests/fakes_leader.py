"""`ports.Leader` for tests: leads or not, as it is told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FakeLeader:
    """Leads as `epoch` from the start; `depose` and `elect` change that."""

    epoch: int = 1
    acts: bool = True
    holder: str = "epoch 1 is held by the test"

    def may_act(self) -> bool:
        return self.acts

    def depose(self, by: str = "another") -> None:
        """Somebody else leads from now on."""
        self.acts = False
        self.holder = f"epoch {self.epoch + 1} is held by {by}"

    def elect(self, epoch: int) -> None:
        """This process leads from now on."""
        self.epoch, self.acts = epoch, True
        self.holder = f"epoch {epoch} is held by this process"
