"""What a run does besides training: each hook is a file of its own, looks at the loop after every step, and is put in
its place by `training.launch`."""
