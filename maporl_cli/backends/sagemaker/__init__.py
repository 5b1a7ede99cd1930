"""Training on Amazon SageMaker."""
