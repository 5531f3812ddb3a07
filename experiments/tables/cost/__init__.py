"""What a table would cost: training steps, operations, hours of GPUs, disk, and data sets."""
