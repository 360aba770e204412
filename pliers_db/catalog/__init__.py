"""What is in a database: snapshot, differences, content digest."""
