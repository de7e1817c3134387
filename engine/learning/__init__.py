"""What learners of every kind share: events, the learner protocol, algorithms, tuning."""
