"""Classic algorithms on tables: one textbook algorithm per file, and the learner that drives them."""
