"""The report: its text, tables and pictures."""
