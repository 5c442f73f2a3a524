"""Reports for people: terminal lines, tables and plots."""
