"""What a policy has to beat, with the same inputs and outputs."""
