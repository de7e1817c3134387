"""What an experienced person would say about a run's metrics: causes and remedies."""
