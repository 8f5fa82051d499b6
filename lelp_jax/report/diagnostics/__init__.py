"""Measures of a teacher's embedding that hint at whether splitting classes will help."""
