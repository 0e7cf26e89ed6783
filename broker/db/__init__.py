"""State: SQLAlchemy Core tables and the Store over them."""
