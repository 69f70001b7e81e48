"""One scripted expert per task, see `uma_sim.demonstrator`."""
