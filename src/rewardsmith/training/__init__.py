"""Training: one epoch of Bradley-Terry through TRL's own `RewardTrainer`, watched, checkpointed and resumable.

In: kept pairs and a `TrainJob`. Out: a checkpoint folder and a `TrainRecord`.

job.py          what every backend is given, and what each says at the end of an epoch
plan.py         the spec's training section resolved to numbers, the order of the pairs, what of it decides the weights
trl_backend.py  from a `TrainJob` to a checkpoint folder and a `TrainRecord`
trainer.py      the subclass of TRL's trainer
resume.py       which checkpoints of a killed run can be resumed
progress.py     how far an epoch is, from its first micro-batch on
metrics.py      a line per optimizer step, the margin of every pair when it was met, and whether the margin rises
flight.py       two pairs through all that training does, before the epoch
ray_train.py    the TRL backend on several workers under Ray
trackers.py     TensorBoard, trackio, Weights & Biases, MLflow, and what they are told
openrlhf/       the same through OpenRLHF, in an environment of its own
"""
