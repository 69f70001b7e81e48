"""From a person's sketch to a reference motion, and the noise of such sketches."""
