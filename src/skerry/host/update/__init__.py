"""Transactional updates of one host: slots, journal, fetch, gate, bless; see engine.py."""
