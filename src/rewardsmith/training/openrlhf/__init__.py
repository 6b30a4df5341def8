"""Training through OpenRLHF's own `train_rm` (DeepSpeed ZeRO), for bases that one node cannot hold.

    refusals.py     what of a spec OpenRLHF would silently ignore
    environment.py  its Python, versions and devices
    flags.py        the plan as command-line flags: one table for the dotted names (0.10.2 and later) and the flat ones
    texts.py        pairs as the texts that its code turns into our token ids
    start.py        the base as it finds it: weights, tokenizer with our template, configuration
    scripts.py      the command, and the scripts for Slurm and Ray
    inside.py       runs in its environment: calls `train_rm` and writes down what each step saw
    ray_nodes.py    runs in its environment: one launcher on each node of a Ray cluster
    progress.py     from what `inside.py` wrote to `train/metrics.jsonl`
    importing.py    its checkpoint as one of ours, verified against its own rewards
    backend.py      all of this in order: from a `TrainJob` to a checkpoint folder and a `TrainRecord`

`inside.py` and `ray_nodes.py` import nothing of Rewardsmith: they are copied beside the data and run there.
"""
