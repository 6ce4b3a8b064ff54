"""What lies on disk: SQLite files with one writer each, vectors, versions."""
