"""manage.py's commands of this app."""
