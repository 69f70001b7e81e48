"""Names that a policy's settings may have. Apart from torch, so that a node can declare its parameters without it."""

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "bfloat16")
