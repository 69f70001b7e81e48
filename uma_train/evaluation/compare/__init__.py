"""`uma compare`: several systems on equal data, steps, parameters and scenes."""
