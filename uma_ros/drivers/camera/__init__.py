"""RGB-D frames from a device, a folder or another driver's topics."""
