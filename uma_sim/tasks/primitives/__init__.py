"""The training primitives (paper B.2): move, stand, cloth, cable, gather, and tool use."""
