"""How many devices each part of the RLHF run gets that will use the reward model.

    roles = plan_roles(devices=16, per_node=8, reward_bytes=16e9, memory=80e9)
    roles.reward, roles.actor, roles.critic, roles.engines, roles.together

The reward server takes what its weights need. Of the rest, half writes rollouts, which are most of a PPO step's time;
actor and critic train on the other half, with the reference model beside the actor. Where less than four devices
remain, all of these share them in turns (`--train.colocate_all`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Roles:
    """Devices of each role; `together`: actor, reference, critic and engines share the same ones."""

    reward: int
    actor: int
    critic: int
    engines: int
    together: bool

    @property
    def devices(self) -> int:
        """All devices that are used."""
        return self.reward + (self.actor if self.together else self.actor + self.critic + self.engines)


def plan_roles(*, devices: int, reward_bytes: float, memory: float, room: float = 0.9) -> Roles:
    """Roles on so many devices of so much memory; with one device the reward server is elsewhere (0)."""
    reward = min(max(1, math.ceil(reward_bytes / (room * memory))), devices - 1) if devices > 1 else 0
    rest = devices - reward
    if rest < 4:
        return Roles(reward, rest, rest, rest, together=True)
    engines = rest // 2
    critic = (rest - engines) // 2
    return Roles(reward, rest - engines - critic, critic, engines, together=False)
