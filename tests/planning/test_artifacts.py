"""What `plan --out` writes: flags, keys and scripts that the named programs take."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewardsmith.pipeline.commands.plan import PlanOptions, base_shape, chosen_backend, plan_job
from rewardsmith.pipeline.events import Silent
from rewardsmith.planning.artifacts import VERL_FUNCTION, hand_over, openrlhf_flags, over_nodes, write_artifacts
from rewardsmith.planning.hardware import GIB, accelerator_machine, cpu_machine
from rewardsmith.planning.stages import write_brief
from rewardsmith.planning.time import assumed_lengths
from rewardsmith.spec import Spec

HERE = cpu_machine(16 * GIB, 2)
TAKES_VALUES = {
    "--actor.model_name_or_path", "--critic.model_name_or_path", "--reward.remote_url", "--actor.num_nodes",
    "--actor.num_gpus_per_node", "--ref.num_nodes", "--ref.num_gpus_per_node", "--critic.num_nodes",
    "--critic.num_gpus_per_node", "--vllm.num_engines", "--vllm.tensor_parallel_size", "--algo.advantage.estimator",
    "--data.prompt_dataset", "--data.input_key", "--ds.zero_stage", "--ckpt.output_dir",
}  # fmt: skip
SWITCHES = {
    "--train.colocate_actor_ref", "--train.colocate_all", "--vllm.enable_sleep", "--data.apply_chat_template",
    "--actor.gradient_checkpointing_enable",
}  # fmt: skip
"""Both as openrlhf.cli.train_ppo_ray of 0.11.2 declares them."""


def spec_of(tiny_base: Path, **more: Any) -> Spec:
    content = {"name": "ours", "base_model": {"id": str(tiny_base)}, "policy": {"id": "org/policy", "parameters": "8B",
               "family": "llama"}, "hardware": {"nodes": 2, "devices_per_node": 8}}  # fmt: skip
    return Spec.model_validate({**content, **more})


def plan_of(spec: Spec, accelerator: str | None = "h100-80gb") -> Any:
    return plan_job(spec, PlanOptions(accelerator=accelerator, pairs=5000), Silent(), here=HERE)


@pytest.fixture
def written(tiny_base: Path, tmp_path: Path) -> Path:
    spec = spec_of(tiny_base)
    write_artifacts(plan_of(spec), spec, tmp_path)
    return tmp_path


def test_everything_is_written(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == [
        "brief.md", "openrlhf_ppo.sh", "plan.json", "ray_cluster.yaml", "serve.sh", "train.sh", "trl_grpo.py",
        "verl.yaml", "verl_reward.py",
    ]  # fmt: skip
    plan = json.loads((written / "plan.json").read_text())
    assert (plan["schema"], plan["name"], plan["choice"]["fits"]) == (1, "ours", True)


def test_the_flags_are_openrlhfs(tiny_base: Path) -> None:
    spec = spec_of(tiny_base)
    flags = openrlhf_flags(hand_over(plan_of(spec), spec))
    assert {name for name, value in flags.items() if value is not None} == TAKES_VALUES
    assert {name for name, value in flags.items() if value is None} <= SWITCHES
    # 16 devices: one serves, seven write, four train each
    assert (flags["--actor.num_gpus_per_node"], flags["--critic.num_gpus_per_node"], flags["--vllm.num_engines"]) == (
        "4",
        "4",
        "7",
    )
    assert flags["--actor.num_gpus_per_node"] == flags["--ref.num_gpus_per_node"]  # they share their devices


@pytest.mark.parametrize(
    ("devices", "most", "nodes"), [(8, 8, (1, 8)), (12, 8, (2, 6)), (16, 8, (2, 8)), (0, 8, (1, 1)), (7, 4, (7, 1))]
)
def test_nodes_are_even(devices: int, most: int, nodes: tuple[int, int]) -> None:
    assert over_nodes(devices, most) == nodes


def test_the_script_keeps_the_token_out(written: Path) -> None:
    script = (written / "openrlhf_ppo.sh").read_text()
    assert '--reward.remote_url "http://any:$REWARDSMITH_TOKEN@REWARD_HOST:8000/get_reward"' in script
    assert "python -m openrlhf.cli.train_ppo_ray \\\n" in script


def test_several_seeds_are_served_as_an_ensemble(tiny_base: Path) -> None:
    spec = spec_of(tiny_base, training={"seeds": [3, 4]})
    from rewardsmith.planning.artifacts import serve_command

    command = serve_command(hand_over(plan_of(spec), spec))
    assert command.startswith(
        "rewardsmith serve --model seed-3=runs/ours/model --model seed-4=runs/ours/replicas/seed-4/model --combine uwo"
    )


def test_shown_commands_are_understood(written: Path) -> None:
    import typer

    from rewardsmith.cli.app import application

    commands = typer.main.get_command(application()).commands  # type: ignore[attr-defined]
    lines = [line for name in ("train.sh", "serve.sh") for line in (written / name).read_text().splitlines()]
    found = [line.split("-m ")[-1] for line in lines if "rewardsmith " in line and not line.startswith("#")]
    assert len(found) == 3
    for line in found:
        _, name, *arguments = line.partition("  #")[0].replace("accelerate launch ", "").split()
        assert commands[name].make_context(name, arguments).params


def test_the_cluster_is_what_ray_takes(written: Path) -> None:
    text = (written / "ray_cluster.yaml").read_text()
    cluster = yaml.safe_load(text)
    assert cluster["provider"] == {"type": "local", "head_ip": "HEAD_IP", "worker_ips": ["WORKER_1_IP"]}
    assert "#   reward     1" in text
    assert "#   actor      4" in text
    ray = importlib.util.find_spec("ray")
    if ray and ray.submodule_search_locations:
        import jsonschema

        schema = Path(ray.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json"
        jsonschema.validate(cluster, json.loads(schema.read_text()))


def test_the_trl_script_names_what_there_is(written: Path) -> None:
    import trl

    tree = ast.parse((written / "trl_grpo.py").read_text())
    calls = {call.func.id: call for call in ast.walk(tree) if isinstance(call, ast.Call) and hasattr(call.func, "id")}
    known = {field.name for field in dataclasses.fields(trl.GRPOConfig)}
    assert {keyword.arg for keyword in calls["GRPOConfig"].keywords} <= known
    assert ast.literal_eval(calls["reward_function"].args[0]) == "runs/ours/model"


def test_verls_function_asks_our_server(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = yaml.safe_load((written / "verl.yaml").read_text())["reward"]
    assert (config["custom_reward_function"]["path"], config["reward_manager"]["name"]) == ("verl_reward.py", "naive")
    assert (written / "verl_reward.py").read_text() == VERL_FUNCTION
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers["Authorization"], json.loads(body)))
            answer = json.dumps({"rewards": [1.25]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setenv("REWARDSMITH_URL", f"http://127.0.0.1:{server.server_address[1]}/")
        monkeypatch.setenv("REWARDSMITH_TOKEN", "word")
        names: dict[str, Any] = {}
        exec(compile(VERL_FUNCTION, "verl_reward.py", "exec"), names)  # noqa: S102 - what we wrote
        prompt = [{"role": "user", "content": "17 + 25?"}]
        reward = asyncio.run(names["compute_score"]("x", "42", None, {"prompt": prompt}))
        thread.join()
    assert reward == 1.25
    assert asked == [("/v1/score", "Bearer word", {"prompt": prompt, "responses": ["42"]})]


def test_the_brief_has_every_part(tiny_base: Path) -> None:
    spec = spec_of(tiny_base, data={"train": [{"path": "a\n# b.jsonl"}]})
    brief = write_brief(plan_of(spec), spec)
    heads = [line for line in brief.splitlines() if line.startswith("#")]
    assert heads == [
        "# Build a reward model: ours", "## Base", "## Framework", "## Hardware", "## Data contract", "## Constraints",
        "## Evaluation", "## Cost", "## Components", "## Look at first", "## Assumed, because nobody stated it",
        "## Commands",
    ]  # fmt: skip
    assert "8,000,000,000 parameters, family llama" in brief
    assert "2 node(s) with 8 × h100-80gb" in brief
    assert "of family 'qwen3' and the policy of 'llama'" in brief


def test_auto_is_answered_for_training_as_in_the_plan(tiny_base: Path) -> None:
    spec = spec_of(tiny_base)
    shape, lengths = base_shape(spec), assumed_lengths(512)
    here = accelerator_machine("a100-80gb", devices_per_node=8)
    assert chosen_backend(spec, shape, lengths, here).backend == "trl"
    starved = spec_of(tiny_base, hardware={"nodes": 8, "devices_per_node": 1, "memory_gib": 0.001})
    choice = chosen_backend(starved, shape, lengths, here)
    assert not choice.fits


def test_training_asks_the_planner_what_auto_means(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rewardsmith.pipeline.commands import plan as planning

    # a pass of TRL's token budget needs 15 MiB of this base, OpenRLHF's single pair half a MiB
    tight = spec_of(
        tiny_base,
        hardware={"nodes": 8, "devices_per_node": 1, "memory_gib": 0.0075},
        training={"tokens_per_micro_batch": 16384},  # `auto` would take as many as fit, and TRL with them
    )
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert planning.trained_by(tight, str(tiny_base)) == "trl"  # no CUDA here
    monkeypatch.setattr(planning, "detect_machine", lambda: accelerator_machine("a100-80gb"))
    monkeypatch.setattr(planning, "known_lengths", lambda spec: (assumed_lengths(32), None))
    assert planning.trained_by(tight, str(tiny_base)) == "openrlhf"
    assert planning.trained_by(tight.model_copy(update={"backend": "trl"}), str(tiny_base)) == "trl"
    assert planning.trained_by(spec_of(tiny_base), str(tiny_base)) == "trl"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert planning.trained_by(tight, str(tiny_base)) == "trl"
