"""Training through OpenRLHF's own `train_rm` (DeepSpeed ZeRO), for bases that one node cannot hold.

    refusals.py     what of a spec OpenRLHF would silently ignore
    command.py      its Python, versions and devices; the plan as command-line flags; scripts for Slurm and Ray
    setup.py        pairs as the texts that its code turns into our token ids; the folder that it reads: rows, scripts,
                    and the base: weights, tokenizer with our template, configuration
    steps.py        which rows each step takes, and what its processes wrote of it
    inside.py       runs in its environment: calls `train_rm` and writes down what each step saw
    ray_nodes.py    runs in its environment: one launcher on each node of a Ray cluster
    backend.py      all of this in order: from a `TrainJob` to a checkpoint folder, verified against its own rewards,
                    and a `TrainRecord`

`inside.py` and `ray_nodes.py` import nothing of Rewardsmith: they are copied beside the data and run there.
"""
