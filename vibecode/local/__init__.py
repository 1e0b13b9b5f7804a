"""The local cloud: PostgreSQL, AWS and the web server on one machine. Started by make run, manage.py and tests."""
