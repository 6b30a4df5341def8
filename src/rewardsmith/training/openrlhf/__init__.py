"""Training through OpenRLHF's own `train_rm` (DeepSpeed ZeRO), for bases that one node cannot hold.

    refusals.py     what of a spec OpenRLHF would silently ignore
    setup.py        its Python, versions and devices; pairs as the texts that its code turns into our token ids;
                    the base as it finds it: weights, tokenizer with our template, configuration
    command.py      the plan as command-line flags, and the scripts for Slurm and Ray
    inside.py       runs in its environment: calls `train_rm` and writes down what each step saw
    ray_nodes.py    runs in its environment: one launcher on each node of a Ray cluster
    backend.py      all of this in order: from a `TrainJob` to a checkpoint folder, verified against its own rewards,
                    and a `TrainRecord`

`inside.py` and `ray_nodes.py` import nothing of Rewardsmith: they are copied beside the data and run there.
"""
