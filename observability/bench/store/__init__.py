"""Where runs are kept: SQLite or PostgreSQL, one schema."""
