"""One machine by itself."""
