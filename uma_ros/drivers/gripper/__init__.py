"""The Robotiq 2F-85 over Modbus, and the client of a gripper action."""
