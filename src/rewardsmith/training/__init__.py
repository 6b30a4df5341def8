"""Training: one epoch of Bradley-Terry through TRL's own `RewardTrainer`, watched, checkpointed and resumable.

order.py        which pairs each optimizer step takes: a seeded permutation or the order given; any number of processes
plan.py         the spec's training section resolved to numbers, and what of it decides the weights
metrics.py      a line per optimizer step, and the margin of every pair when it was met
monitor.py      does the margin rise? a trend test that tolerates noise, and whom to suspect when it does not
checkpoints.py  which checkpoints are complete
trainer.py      the subclass of TRL's trainer: whole steps, micro-batches by tokens, every pair weighs the same
planning/       what a spec will need: memory, time, scoring, and the backend that fits
ray_train.py    the TRL backend on several workers under Ray
trl_backend.py  from a `TrainJob` to a checkpoint folder and a `TrainRecord`
trackers.py     TensorBoard, trackio, Weights & Biases, MLflow; trackers_numbers.py: what they are told
openrlhf/       the same through OpenRLHF, in an environment of its own
conclusion.py   what every backend says at the end
"""
