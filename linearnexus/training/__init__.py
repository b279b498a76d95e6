"""Loss, optimizers, schedules, the step, the loop, checkpoints, reports."""
