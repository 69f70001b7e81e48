"""Deliberate defects of the code, and the test that must detect each."""

from robustness.mutants import intents, judges, model, systems, training
from robustness.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *model.MUTANTS,
    *training.MUTANTS,
    *judges.MUTANTS,
    *intents.MUTANTS,
    *systems.MUTANTS,
)
