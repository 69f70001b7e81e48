"""Intents: free motions of many objects, one folder for all kinds; see `uma_sim.tasks.intents.goals`."""
