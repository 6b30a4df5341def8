"""The files of `plan --out`: the plan, the brief, and what plugs the trained model into RLHF frameworks.

    plan.json          the record                  brief.md           the implementation brief
    train.sh           check and train             serve.sh           the reward server; with seeds an ensemble
    openrlhf_ppo.sh    PPO with the server         ray_cluster.yaml   nodes and roles of that run
    trl_grpo.py        GRPO in TRL                 verl.yaml, verl_reward.py    verl's reward section and its function

Words in capitals are what nobody can know before (POLICY, PROMPTS, REWARD_HOST, HEAD_IP). Flags are those of OpenRLHF
0.10.2 and later, keys those of verl 0.9. No token is written: scripts read it from the environment.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from rewardsmith.planning.backend import ROOM
from rewardsmith.planning.stages import write_brief
from rewardsmith.records.files import guard_folder, to_json, write_text
from rewardsmith.records.plan import PlannedMachine, PlanRecord
from rewardsmith.spec import Spec

PORT = 8000


@dataclass(frozen=True, slots=True)
class Roles:
    """Devices of each part of the RLHF run; `together`: actor, reference, critic and engines share the same ones."""

    reward: int
    actor: int
    critic: int
    engines: int
    together: bool


@dataclass(frozen=True, slots=True)
class Handover:
    """What the artifacts say of the trained model and the run that will use it."""

    models: tuple[tuple[str, str], ...]
    policy: str
    roles: Roles
    machine: PlannedMachine


def write_artifacts(plan: PlanRecord, spec: Spec, folder: Path) -> tuple[Path, ...]:
    """Write all files to `folder`; returns their paths.

    Raises:
        RunDirectoryError: the folder cannot be written.
    """
    handover = hand_over(plan, spec)
    texts: dict[str, Callable[[], str]] = {
        "plan.json": lambda: to_json(plan) + "\n",
        "brief.md": lambda: write_brief(plan, spec),
        "train.sh": lambda: _script("The data contract, then training.", *plan.launch),
        "serve.sh": lambda: _script("Rewards over HTTP. Set REWARDSMITH_TOKEN first.", serve_command(handover)),
        "openrlhf_ppo.sh": lambda: openrlhf_script(handover),
        "ray_cluster.yaml": lambda: ray_cluster(plan, handover),
        "trl_grpo.py": lambda: trl_script(handover),
        "verl.yaml": verl_fragment,
        "verl_reward.py": lambda: VERL_FUNCTION,
    }
    guard_folder(folder, texts.keys(), "plan.json")
    for name, text in texts.items():
        write_text(folder / name, text())
    return tuple(folder / name for name in texts)


def hand_over(plan: PlanRecord, spec: Spec) -> Handover:
    """Which checkpoints there will be, and how the devices are dealt out."""
    run = f"{spec.output_dir}/{spec.name}"
    members = [(f"seed-{spec.training_seed}", f"{run}/model")]
    members += [(f"seed-{seed}", f"{run}/replicas/seed-{seed}/model") for seed in spec.training.seeds[1:]]
    devices = plan.machine.nodes * plan.machine.devices_per_node
    # bfloat16 weights of every member
    weights = 2.0 * plan.model.parameters * len(members)
    roles = plan_roles(devices=devices, reward_bytes=weights, memory=plan.machine.memory)
    models = tuple(members) if len(members) > 1 else ((spec.name, f"{run}/model"),)
    return Handover(models, spec.policy.id or "POLICY", roles, plan.machine)


def plan_roles(*, devices: int, reward_bytes: float, memory: float) -> Roles:
    """Roles on so many devices of so much memory; with one device the reward server is elsewhere (0).

    The reward server takes what its weights need. Of the rest, half writes rollouts, which are most of a PPO step's
    time; actor and critic train on the other half, with the reference model beside the actor. Where less than four
    devices remain, all of these share them in turns (`--train.colocate_all`).
    """
    reward = min(max(1, math.ceil(reward_bytes / (ROOM * memory))), devices - 1) if devices > 1 else 0
    rest = devices - reward
    if rest < 4:
        return Roles(reward, rest, rest, rest, together=True)
    engines = rest // 2
    critic = (rest - engines) // 2
    return Roles(reward, rest - engines - critic, critic, engines, together=False)


def serve_command(handover: Handover) -> str:
    """The reward server; several seeds are combined, since OpenRLHF no longer combines reward models itself."""
    models = " ".join(f"--model {shlex.quote(f'{name}={folder}')}" for name, folder in handover.models)
    combine = " --combine uwo" if len(handover.models) > 1 else ""
    return f"rewardsmith serve {models}{combine} --host 0.0.0.0 --port {PORT} --dtype bfloat16"


def openrlhf_flags(handover: Handover) -> dict[str, str | None]:
    """OpenRLHF's PPO flags that plug the reward server in; None for a flag without a value."""
    roles, machine = handover.roles, handover.machine

    def of_role(role: str, devices: int) -> dict[str, str | None]:
        nodes, per_node = over_nodes(devices, machine.devices_per_node)
        return {f"--{role}.num_nodes": str(nodes), f"--{role}.num_gpus_per_node": str(per_node)}

    shared: dict[str, str | None] = (
        {"--train.colocate_all": None, "--vllm.enable_sleep": None}
        if roles.together
        else {"--train.colocate_actor_ref": None}
    )
    return {
        "--actor.model_name_or_path": handover.policy,
        "--critic.model_name_or_path": handover.policy,
        "--reward.remote_url": f"http://any:$REWARDSMITH_TOKEN@REWARD_HOST:{PORT}/get_reward",
        **of_role("actor", roles.actor),
        **of_role("ref", roles.actor),
        **of_role("critic", roles.critic),
        "--vllm.num_engines": str(max(roles.engines, 1)),
        "--vllm.tensor_parallel_size": "1",
        **shared,
        "--algo.advantage.estimator": "gae",
        "--data.prompt_dataset": "PROMPTS",
        "--data.input_key": "prompt",
        "--data.apply_chat_template": None,
        "--ds.zero_stage": "3",
        "--actor.gradient_checkpointing_enable": None,
        "--ckpt.output_dir": "ppo",
    }


def over_nodes(devices: int, most: int) -> tuple[int, int]:
    """Nodes and devices of each, at most `most`, that together are `devices`; OpenRLHF takes no uneven nodes."""
    nodes = next(nodes for nodes in range(1, max(devices, 1) + 1) if devices % nodes == 0 and devices <= nodes * most)
    return nodes, max(devices, 1) // nodes


def openrlhf_script(handover: Handover) -> str:
    """PPO with the reward server."""
    flags = [name if value is None else f"{name} {_quoted(value)}" for name, value in openrlhf_flags(handover).items()]
    command = " \\\n  ".join(["python -m openrlhf.cli.train_ppo_ray", *flags])
    return _script(
        "PPO with OpenRLHF 0.10.2 or later; start serve.sh on REWARD_HOST first.\n"
        "# --reward.normalize_enable stays off: a remote reward ignores it, and rewards are raw.",
        command,
    )


def ray_cluster(plan: PlanRecord, handover: Handover) -> str:
    """A cluster for `ray up`: one head, the other nodes workers; the head's resource `reward` places the server."""
    machine, roles = plan.machine, handover.roles
    workers = [f"WORKER_{number}_IP" for number in range(1, machine.nodes)]
    start = "ray stop && ray start"
    cluster = {
        "cluster_name": f"{plan.name}-rlhf",
        "provider": {"type": "local", "head_ip": "HEAD_IP", "worker_ips": workers},
        "auth": {"ssh_user": "USER"},
        "max_workers": len(workers),
        "setup_commands": ["pip install 'rewardsmith[serve]'"],
        "head_start_ray_commands": [f"{start} --head --port=6379 --resources='{{\"reward\": 1}}'"],
        "worker_start_ray_commands": [f"{start} --address=$RAY_HEAD_IP:6379"],
    }
    shared = " (all of them share these devices)" if roles.together else ""
    head = [
        f"# {machine.nodes} node(s) with {machine.devices_per_node} × {machine.name}. Devices by role:",
        f"#   reward     {roles.reward}  serve.sh, on the node with the resource reward; or anywhere, by its URL",
        f"#   actor      {roles.actor}  with the reference model on the same devices{shared}",
        f"#   critic     {roles.critic}",
        f"#   engines    {roles.engines}  vLLM, rollouts",
        "#",
        "#   ray up ray_cluster.yaml",
        (
            "#   ray job submit --entrypoint-resources '{\"reward\": 1}' --entrypoint-num-gpus "
            f"{roles.reward} -- bash serve.sh"
        ),
        "#   ray job submit -- bash openrlhf_ppo.sh",
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(cluster, sort_keys=False)


def trl_script(handover: Handover) -> str:
    """GRPO in TRL, with the checkpoint in this process or behind the server."""
    where = handover.models[0][1] if len(handover.models) == 1 else f"http://REWARD_HOST:{PORT}"
    return TRL_SCRIPT.replace("POLICY", handover.policy).replace("REWARD", where, 1)


TRL_SCRIPT = '''"""GRPO in TRL with the trained reward model; `reward_function` takes a folder or a server's URL."""

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

from rewardsmith import reward_function

trainer = GRPOTrainer(
    model="POLICY",
    reward_funcs=reward_function("REWARD"),
    train_dataset=load_dataset("json", data_files="PROMPTS.jsonl", split="train"),  # a column `prompt`: messages
    args=GRPOConfig(output_dir="grpo", num_generations=8, max_completion_length=1024, bf16=True),
)
trainer.train()
'''


def verl_fragment() -> str:
    """The section `reward` of verl's configuration."""
    content = {
        "reward": {
            "num_workers": 8,
            "custom_reward_function": {"path": "verl_reward.py", "name": "compute_score"},
            "reward_manager": {"source": "register", "name": "naive"},
            "reward_model": {"enable": False},
        }
    }
    return (
        "# verl 0.9: overrides of its section `reward`. Rewards come from serve.sh, not from a model of verl's own.\n"
        "# Each row needs its conversation under extra_info: {prompt: [messages]}.\n"
        + yaml.safe_dump(content, sort_keys=False)
    )


VERL_FUNCTION = '''"""verl's custom reward function: the server's reward of a response. Standard library alone.

REWARDSMITH_URL and REWARDSMITH_TOKEN say where, and who asks.
"""

import asyncio
import json
import os
import urllib.request


def ask(prompt, response):
    body = json.dumps({"prompt": prompt, "responses": [response]}).encode()
    headers = {"Content-Type": "application/json"}
    if os.environ.get("REWARDSMITH_TOKEN"):
        headers["Authorization"] = f"Bearer {os.environ['REWARDSMITH_TOKEN']}"
    url = os.environ["REWARDSMITH_URL"].rstrip("/") + "/v1/score"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=180) as answer:
        return json.load(answer)["rewards"][0]


async def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    return await asyncio.to_thread(ask, extra_info["prompt"], solution_str)
'''


def _script(about: str, *commands: str) -> str:
    return f"#!/usr/bin/env bash\n# {about}\nset -euo pipefail\n\n" + "\n".join(commands) + "\n"


def _quoted(value: str) -> str:
    """Quoted for bash; the token's variable is left to bash."""
    return f'"{value}"' if "$REWARDSMITH_TOKEN" in value else shlex.quote(value)
