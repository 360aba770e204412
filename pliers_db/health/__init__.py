"""An honest report on a database."""
