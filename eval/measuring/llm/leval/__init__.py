"""L-Eval's closed-ended tasks (An et al. 2023), as the paper's Table 2 uses them: tasks, data, prompts and scoring."""
