"""GLUE: reading its tasks, fine-tuning on them, scores and files for its server."""
