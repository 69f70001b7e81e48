"""What the systems that predict pixels share: images in a batch, a frozen tokeniser, the task, memory of images."""
