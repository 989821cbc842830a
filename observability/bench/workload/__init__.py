"""What is asked and when, made before the clock starts."""
