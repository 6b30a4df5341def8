"""A plan as an implementation brief in Markdown: what someone who builds the reward model must be told.

    text = write_brief(record, spec)

Sections: base, framework, hardware, data contract, constraints, evaluation, component map, open questions. Every
number is the record's own; every constraint is a rule of the spec, with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewardsmith.pipeline.plan_stages import source_name
from rewardsmith.records import PlanRecord
from rewardsmith.spec import Spec

GIB = 2**30

CONSTRAINTS = (
    "One epoch. Preferences are memorised in a second pass.",
    "Loss: -log sigmoid(r_chosen - r_rejected), mean over pairs; no margin term, whatever columns the data have.",
    "Rewards are raw: no sigmoid, no normalisation, mean and standard deviation recorded and never applied.",
    "The last token of every text is EOS and nothing follows it; the reward is read there. The pad token is not EOS.",
    "The saved chat template itself writes that ending, so that every framework sees the same tokens.",
    "The base is no larger than the policy. No code from model repositories runs; weights are safetensors.",
    (
        "Nothing is dropped, cut or filled in silently: each row that is left out has a written reason, each reward "
        "that could not be computed stays null and fails the gate."
    ),
    "Held-out and benchmark prompts are not in the training pairs, exactly or nearly.",
)


def write_brief(plan: PlanRecord, spec: Spec) -> str:
    """The brief as Markdown."""
    parts = [
        f"# Build a reward model: {plan.name}",
        "Train a reward model with the Bradley-Terry loss on preference pairs, as this brief and its spec say.",
        _section("Base", _base(plan)),
        _section("Framework", _framework(plan)),
        _section("Hardware", _hardware(plan)),
        _section("Data contract", _data(plan, spec)),
        _section("Constraints", CONSTRAINTS),
        _section("Evaluation", _evaluation(spec)),
        _section("Cost", _cost(plan)),
        "## Components\n\n" + _components(plan),
        _section("Look at first", plan.warnings or ("Nothing was found.",)),
        _section("Assumed, because nobody stated it", plan.assumptions),
        "## Commands\n\n```bash\n" + "\n".join(plan.launch) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Sequence[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {_one_line(line)}" for line in lines)


def _one_line(text: str) -> str:
    """Names come from specs and files: none may begin a heading or a list of its own."""
    return " ".join(text.split())


def _base(plan: PlanRecord) -> tuple[str, ...]:
    model = plan.model
    policy = "not stated" if model.policy_parameters is None else f"{model.policy_parameters:,} parameters"
    return (
        (
            f"`{model.id}`, family {model.family}: {model.parameters:,} parameters with the reward head, "
            f"{model.trained:,} of them trained."
        ),
        f"Policy: {policy}{f', family {model.policy_family}' if model.policy_family else ''}.",
        f"Layout: {model.layout}{f', because {model.why_padded}' if model.why_padded else ''}.",
        *(f"{note.text} ({note.source})." for note in plan.sizing),
    )


def _framework(plan: PlanRecord) -> tuple[str, ...]:
    choice = plan.choice
    name = "TRL's RewardTrainer, through rewardsmith" if choice.backend == "trl" else "OpenRLHF's train_rm"
    return (
        f"{name}; {choice.strategy} on {choice.devices}; adapter: {choice.adapter}.",
        f"Why: {choice.reason}.",
    )


def _hardware(plan: PlanRecord) -> tuple[str, ...]:
    machine, choice = plan.machine, plan.choice
    fits = "It fits." if choice.fits else "It does not fit."
    return (
        (
            f"{machine.nodes} node(s) with {machine.devices_per_node} × {machine.name}, "
            f"{machine.memory / GIB:.1f} GiB each."
        ),
        f"Peak of a device: {choice.peak / GIB:.1f} GiB. {fits}",
        f"A forward pass holds {plan.tokens.micro_batch:,.0f} tokens.",
    )


def _data(plan: PlanRecord, spec: Spec) -> tuple[str, ...]:
    own = [source_name(source) for source in spec.data.held_out.sources]
    held_out = ", ".join(own) if own else f"{spec.data.held_out.fraction:.0%} of the training prompts"
    pairs = "not counted yet" if plan.tokens.pairs is None else f"{plan.tokens.pairs:,}"
    return (
        f"Training pairs: {', '.join(source_name(source) for source in spec.data.train)} ({pairs}).",
        f"Held out: {held_out}.",
        "A row: `prompt`, `chosen`, `rejected` as lists of messages, `id`, `source`, `subset`.",
        f"Texts up to {spec.data.max_length:,} tokens; longer ones: {spec.data.over_length}.",
        f"Findings that end the run: {', '.join(spec.data.fail_on) or 'none'}.",
        "`rewardsmith check` must pass for these very data before training starts.",
    )


def _evaluation(spec: Spec) -> tuple[str, ...]:
    gates = spec.evaluation.gates
    names = [f"{benchmark.key} on `{benchmark.data}`" for benchmark in spec.evaluation.benchmarks]
    minimum = [
        f"{key}: {subset} at least {least:g}" for key, of in gates.minimum.items() for subset, least in of.items()
    ]
    return (
        f"Benchmarks: {', '.join(names) or 'none'}; the held-out pairs as well.",
        "Every score with its interval, a random baseline and a length-only baseline beside it.",
        *(("Gate: every subset's interval lies above its baseline.",) if gates.above_baseline else ()),
        *(f"Gate: {line}." for line in minimum),
        "Gate: no reward is missing.",
    )


def _cost(plan: PlanRecord) -> tuple[str, ...]:
    time = plan.time
    money = "" if time.cost is None else f", ${time.cost:,.2f}"
    dedicated = plan.scoring[0]
    asked = "" if dedicated.per_million is None else f", ${dedicated.per_million:,.2f} a million"
    return (
        f"{time.pairs:,} pairs: {time.seconds / 3600:.2f} hours{money} at {time.utilisation:.0%} of the peak.",
        f"A reward: {dedicated.seconds * 1000:.0f} ms ({dedicated.source}){asked}.",
        f"Grader: {plan.advice.kind}. {plan.advice.reason}.",
    )


def _components(plan: PlanRecord) -> str:
    head = "| stage | receives | returns | must not | on failure | here |\n| --- | --- | --- | --- | --- | --- |\n"
    rows = [
        (stage.title, stage.receives, stage.returns, stage.must_not, stage.fails, "; ".join(stage.here))
        for stage in plan.stages
    ]
    return head + "\n".join(f"| {' | '.join(_one_line(cell).replace('|', '/') for cell in row)} |" for row in rows)
