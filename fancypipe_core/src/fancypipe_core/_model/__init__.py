"""What users write: tasks, references to their outputs, and what a running task may ask."""
