"""Classic algorithms on tables: one textbook algorithm per file, and their learners."""
