"""What each command does besides the main job: options in, a record out. `cli` prints it and chooses the exit code.

report.py        report.html and summary.md; row_texts.py: the texts of rows, read again
compare.py       evaluations on disk, compared
look.py          a run served on this machine, while it trains too; a folder of runs, listed
explain.py       one conversation, token by token
plan.py          what a spec will need
score.py         rewards of the rows of a file
serve.py         models, tokens and limits of a server
verify.py        the same rewards on every path, a running server among them
judge.py         the judge, built and evaluated
route.py         the router: its model, rules and replay
calibrate_route.py   its limit, from held-out pairs
run_route.py     files of comparisons, routed
export.py        checkpoints for other programs, averages of checkpoints, `push`
doctor.py        versions, scripts and checkpoints, examined
"""
