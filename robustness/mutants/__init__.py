"""Deliberate breakages of the product, and the test that each must fail."""

from robustness.mutants import judges, model, training
from robustness.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (*model.MUTANTS, *training.MUTANTS, *judges.MUTANTS)
