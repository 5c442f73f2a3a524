"""What people look at: terminal lines, tables and pictures."""
