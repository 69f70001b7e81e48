"""From chunks to safe targets for the robot. Plain Python; the caller passes the clock to every function."""
