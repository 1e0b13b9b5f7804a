"""Django's engine for Aurora PostgreSQL, ``"ENGINE": "vibecode.db"``, and what its refusals mean."""
