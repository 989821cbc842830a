"""What is seen beside the load: the server's metrics, GPUs, processes."""
